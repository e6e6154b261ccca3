"""The suite file's own structure: what may stand where. Run settings are checked after merging."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.planning.eval_settings import KINDS
from harness.planning.sections import Section
from harness.planning.spec import TrainSpec
from harness.protocol import Frozen

Settings = dict[str, Any]

#: Keys of a run that a suite may set, in `base`, in an adapter or along an axis.
SETTING_KEYS = tuple(k for k in TrainSpec.model_fields if k not in ("seed", "adapter_version"))


class AxisPath(Frozen):
    """An axis over one setting."""

    path: str = Field(description="dotted path of the setting, such as budget.tokens")
    values: list[Any] = Field(min_length=1)


class Experiment(Frozen):
    """Adapters x axes x seeds trained under one base, and how they are evaluated."""

    base: Settings = Field(default_factory=dict, description="settings shared by every run")
    adapters: dict[str, Settings] = Field(min_length=1, description="label -> its settings")
    axes: dict[str, AxisPath | list[Settings]] = Field(
        default_factory=dict,
        description="name -> values; a list entry holds settings (dotted keys allowed), a label, "
        "and settings per adapter label under `adapters`",
    )
    combine: Literal["grid", "one_at_a_time"] = Field(
        default="grid", description="cross the axes, or vary each alone around the base"
    )
    seeds: list[int] = Field(default=[0], min_length=1)
    evaluations: dict[str, Settings] = Field(default_factory=dict)


class SuiteDocument(Frozen):
    """A suite file."""

    suite: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of its output folders")
    version: int = Field(default=1, ge=1, description="rises when the suite's numbers change")
    description: str = ""
    exploratory: str | None = Field(
        default=None,
        min_length=1,
        description="why nothing that reads a run of this suite decides a claim, such as settings "
        "found by looking at the sets that it reports",
    )
    base: Settings = Field(default_factory=dict, description="settings shared by all experiments")
    experiments: dict[str, Experiment] = Field(min_length=1)
    report: list[Section] = Field(default_factory=list)


def json_schema() -> dict[str, Any]:
    """JSON schema of a suite file for editors; settings list every key a run knows, none needed."""
    schema = SuiteDocument.model_json_schema()
    train = TrainSpec.model_json_schema()
    definitions = schema["$defs"] | train.pop("$defs")
    keys = {k: v for k, v in train["properties"].items() if k in SETTING_KEYS}
    # A layer may give part of a task, which then fits several kinds.
    keys["task"] = {"anyOf": keys["task"]["oneOf"]}
    settings = {
        "type": "object",
        "properties": keys,
        "patternProperties": {rf"^({'|'.join(SETTING_KEYS)})(\.[a-z0-9_]+)+$": {}},
        "additionalProperties": False,
    }
    definitions["Settings"] = settings
    definitions["AxisValue"] = settings | {
        "properties": keys
        | {
            "label": {"type": ["string", "number"]},
            "adapters": {
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/Settings"},
            },
        }
    }
    for name in ("NextTokenTask", "DenoisingTask", "NextFrameTask", "Optimizer"):
        definitions[name].pop("required", None)
    reference = {"$ref": "#/$defs/Settings"}
    schema["properties"]["base"] = reference
    experiment = definitions["Experiment"]["properties"]
    experiment["base"] = reference
    experiment["adapters"]["additionalProperties"] = reference
    kinds = []
    for setting in (kind.setting for kind in KINDS.values()):
        definitions[setting.__name__] = setting.model_json_schema()
        kinds.append({"$ref": f"#/$defs/{setting.__name__}"})
    experiment["evaluations"]["additionalProperties"] = {"oneOf": kinds}
    listed = experiment["axes"]["additionalProperties"]["anyOf"]
    listed[1]["items"] = {"$ref": "#/$defs/AxisValue"}
    schema["$defs"] = definitions
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema
