"""Slurm's commands as scripts: `fake_commands.py NAME ARGUMENT…` prints what Slurm's NAME prints.

They run nothing. What they know lies in the folder FAKE_SLURM: tests write it, sbatch and scancel
change it. Texts and exit codes are those of Slurm 22.05; a command line that the harness is not
known to use is refused.
"""

import fcntl
import json
import os
import re
import shlex
import sys
import time

ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "TIMEOUT"),
}
UNREACHABLE = "Unable to contact slurm controller (connect failure)"
HELP = 'Try "sbatch --help" for more information'
NO_ACCOUNTING = "Slurm accounting storage is disabled"
#: What sbatch is told in a script: with a value, and without.
WITH_VALUE = {
    *("account", "array", "chdir", "comment", "constraint", "cpus-per-task", "exclude"),
    *("gpus-per-node", "gres", "job-name", "mail-type", "mem", "nice", "nodelist", "nodes"),
    *("ntasks-per-node", "open-mode", "output", "partition", "qos", "reservation", "signal"),
    "time",
}
ALONE = {"exclusive", "overcommit", "requeue"}


class Misused(Exception):
    """The command line is none that the harness is known to use."""


class Refused(Exception):
    """A command ends with this message and this code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def options(arguments, known, flags=()):
    """Option -> value, and what is no option; anything but `known` options and `flags` fails."""
    found, rest = {}, []
    for argument in arguments:
        if not argument.startswith("-"):
            rest.append(argument)
            continue
        name, given, value = argument.partition("=")
        if name not in (known if given else flags):
            raise Misused(f"unrecognized option '{argument}'")
        found[name] = value
    missing = set(flags) - {"--array", "--allocations"} - found.keys()
    if missing:
        raise Misused(f"without {sorted(missing)}")
    return found, rest


def fields(element, job, form):
    """squeue's format with its %-codes filled in."""
    codes = {
        "%i": element,
        "%F": job["array"],
        "%T": job["state"],
        "%N": job["node"],
        "%r": job["reason"],
    }
    return re.sub("%.", lambda found: codes[found[0]], form)


def squeue(state, arguments):
    known = ("--states", "--format", "--jobs", "--name", "--user")
    asked, rest = options(arguments, known, ("--noheader", "--array"))
    if rest:
        raise Misused(f"unrecognized {rest}")
    ids = asked["--jobs"].split(",") if "--jobs" in asked else None
    known_ids = {job["array"] for job in state["elements"].values() if job["queue"]}
    if ids is not None and len(ids) == 1 and ids[0] not in known_ids:
        raise Refused("slurm_load_jobs error: Invalid job id specified")
    for element, job in state["elements"].items():
        if (
            job["queue"]
            and (ids is None or job["array"] in ids)
            and asked.get("--name", job["name"]) == job["name"]
            and asked.get("--user", job["user"]) == job["user"]
            and (asked.get("--states") == "all" or job["state"] not in ENDED)
            and os.environ.get("SQUEUE_PARTITION", "") in ("", job["partition"])
        ):
            print(fields(element, job, asked["--format"]))


def sacct(state, arguments):
    known = ("--format", "--jobs", "--name", "--starttime")
    asked, rest = options(arguments, known, ("--noheader", "--parsable2", "--allocations"))
    if rest or ("--name" in asked and "--starttime" not in asked):
        raise Misused(f"asks for today only: {arguments}")
    if not state["accounting"]:
        raise Refused(NO_ACCOUNTING)
    columns = asked["--format"].split(",")
    for element, job in accounted(state["elements"]):
        if ("--jobs" not in asked or job["array"] in asked["--jobs"].split(",")) and asked.get(
            "--name", job["name"]
        ) == job["name"]:
            row = {
                "JobID": element,
                "State": job["state"] + (f" by {job['by']}" if job["by"] else ""),
                "NodeList": job["node"] or "None assigned",
                "ExitCode": job["exit"],
            }
            print("|".join(row[column] for column in columns))


def accounted(elements):
    """Rows of accounting: elements of an array that never began are one, as sacct has them."""
    waiting = {}
    for element, job in elements.items():
        if job["sacct"] and not job["node"]:
            waiting.setdefault((job["array"], job["state"]), []).append((element, job))
        elif job["sacct"]:
            yield element, job
    for (array, _), group in waiting.items():
        if len(group) == 1:
            yield group[0]
            continue
        numbers = [int(element.partition("_")[2]) for element, _ in group]
        job = group[0][1]
        throttle = f"%{job['throttle']}" if job["state"] == "PENDING" else ""
        yield f"{array}_[{spans(numbers)}{throttle}]", job


def spans(numbers):
    """`0-2,5`."""
    found = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def sbatch(state, arguments):
    (path,) = arguments
    with open(path) as file:
        lines = file.read().splitlines()
    given = {}
    for line in lines:
        if line.startswith("#SBATCH "):
            for word in shlex.split(line)[1:]:
                name, has_value, value = word[2:].partition("=")
                if not word.startswith("--") or name not in (WITH_VALUE if has_value else ALONE):
                    raise Refused(f"sbatch: unrecognized option '{word}'\n{HELP}", 255)
                given[name] = value
    first, last, throttle = re.fullmatch(r"(\d+)-(\d+)%(\d+)", given["array"]).groups()
    if int(last) >= int(state["config"]["MaxArraySize"]):
        raise Refused("sbatch: error: Batch job submission failed: Invalid job array specification")
    if state["refusals"]:
        refusal = state["refusals"].pop(0)
        if refusal is not None:
            text, taken = refusal
            if taken:
                add(state, given, range(int(first), int(last) + 1), throttle)
            raise Refused(f"sbatch: error: Batch job submission failed: {text}")
    number = add(state, given, range(int(first), int(last) + 1), throttle)
    print(f"Submitted batch job {number}")


def add(state, given, indices, throttle):
    number = state["next_id"]
    state["next_id"] += 1000
    for index in indices:
        state["elements"][f"{number}_{index}"] = {
            "array": str(number),
            "number": str(number + index),
            "state": "PENDING",
            "node": "",
            "reason": "Priority",
            "exit": "0:0",
            "by": "",
            "name": given["job-name"],
            "user": state["user"],
            "partition": given.get("partition", "default"),
            "throttle": throttle,
            "details": {},
            "queue": True,
            "sacct": True,
        }
    return number


def scancel(state, arguments):
    """An element that waits vanishes without a trace."""
    _, elements = options(arguments, ())
    for element in elements:
        job = state["elements"].get(element)
        if job is None or job["state"] in ENDED:
            continue
        if job["state"] == "PENDING":
            job["queue"] = job["sacct"] = False
        job |= {"state": "CANCELLED", "reason": "None", "by": "0"}


def scontrol(state, arguments):
    if arguments == ["show", "config"]:
        print("Configuration data as of 2026-01-01T00:00:00")
        for name, value in state["config"].items():
            print(f"{name:<23} = {value}")
        return
    if len(arguments) == 2 and arguments[0] == "requeue":
        requeue(state, arguments[1])
        return
    if arguments[:3] != ["--oneliner", "show", "job"] or len(arguments) != 4:
        raise Misused(f"invalid keyword: {arguments}")
    _, job = numbered(state, arguments[3])
    if job is None:
        raise Refused("slurm_load_jobs error: Invalid job id specified")
    shown = {"JobId": job["number"], "ArrayJobId": job["array"], "JobName": job["name"]}
    shown |= {"JobState": job["state"], "Reason": job["reason"]} | job["details"]
    print(" ".join(f"{key}={value}" for key, value in shown.items()))


def requeue(state, job_id):
    element, job = numbered(state, job_id)
    if job is None:
        raise Refused(f"Invalid job id specified for job {job_id}")
    if job["state"] == "PENDING":
        raise Refused(f"{element}: Job is pending execution")
    job |= {"state": "PENDING", "node": "", "reason": "BeginTime"}


def numbered(state, job_id):
    for element, job in state["elements"].items():
        if job["queue"] and job_id in (element, job["number"]):
            return element, job
    return job_id, None


def sacctmgr(state, arguments):
    if arguments[:3] != ["--noheader", "--parsable2", "show"] or arguments[4] != "where":
        raise Misused(f"unknown request: {arguments}")
    if not state["accounting"]:
        raise Refused(f"sacctmgr: error: {NO_ACCOUNTING}")
    what, (key, _, value), (form, _, columns) = (
        arguments[3],
        arguments[5].partition("="),
        arguments[6].partition("="),
    )
    if form != "format" or (what, key) not in (("associations", "user"), ("qos", "name")):
        raise Misused(f"unknown condition: {arguments}")
    for row in state[what]:
        if row[key] == value:
            print("|".join(str(row.get(column, "")) for column in columns.split(",")))


COMMANDS = {
    "sacct": sacct,
    "sacctmgr": sacctmgr,
    "sbatch": sbatch,
    "scancel": scancel,
    "scontrol": scontrol,
    "squeue": squeue,
}


def main(name, arguments):
    folder = os.environ["FAKE_SLURM"]
    rules = [k for k in os.environ if k.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "SACCT_"))]
    with open(os.path.join(folder, "state.json"), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with open(os.path.join(folder, "calls.jsonl"), "a") as calls:
            calls.write(json.dumps({"words": [name, *arguments], "rules": rules}) + "\n")
        state = json.load(file)
        trouble = state["trouble"].get(name)
        if trouble != "hang":
            try:
                if trouble is not None:
                    raise Refused(trouble)
                COMMANDS[name](state, arguments)
            finally:
                file.seek(0)
                json.dump(state, file)
                file.truncate()
            return
    time.sleep(600)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except Refused as refused:
        print(refused, file=sys.stderr)
        sys.exit(refused.code)
    except Exception as error:
        with open(os.path.join(os.environ["FAKE_SLURM"], "misuses"), "a") as file:
            file.write(f"{sys.argv[1:]}: {type(error).__name__} {error}\n")
        raise
