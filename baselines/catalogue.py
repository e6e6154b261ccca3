"""The adapters that ship with the harness, by entry-point name. Torch-free."""

from baselines.image_records import DIT_IMAGE, EBT_IMAGE
from baselines.text_records import EBT_TEXT, TRANSFORMER_PP_TEXT
from baselines.video_records import EBT_VIDEO, TRANSFORMER_PP_VIDEO

__all__ = [
    "DIT_IMAGE",
    "EBT_IMAGE",
    "EBT_TEXT",
    "EBT_VIDEO",
    "TRANSFORMER_PP_TEXT",
    "TRANSFORMER_PP_VIDEO",
]
