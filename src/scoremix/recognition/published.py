"""Published checkpoints of arcface_torch, AdaFace and CVLFace, read strictly; nothing in a file is executed.

Every tensor of the network must be there, and none too many. The three families disagree on the order of colours:

- arcface_torch (`backbone.pth`, `model.pt`, `checkpoint_gpu_0.pt`): RGB.
- AdaFace (Lightning `.ckpt`, names under `model.`): BGR.
- CVLFace (`model.pt` under `net.`, `model.safetensors` under `model.net.`): said by the `config.json` or `model.yaml`
  beside the file, else to be given.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from scoremix.data.finite import finite_tensors, refuse_misfits
from scoremix.data.limits import parsed_json, parsed_yaml, text
from scoremix.data.lists import some
from scoremix.data.pickles import read_torch, readable
from scoremix.recognition import checkpoints
from scoremix.recognition.iresnet import ADAFACE_UNITS, FACE_UNITS

PREFIXES = ("", "module.", "model.", "net.", "model.net.")
WRAPPERS = ("state_dict", "state_dict_backbone", "model")  # of Lightning, of arcface_torch's training state, of others
AROUND = ("module", "backbone")  # names before all others: of data parallelism, of trainers that keep a head beside
# What other files look like: names of tensors that only they have
OTHERS = (
    (
        r"(^|\.)(features\.module|module\.features)\.|^features\.(conv1|layer1|input_layer)\.",
        "a MagFace checkpoint (BGR in 0..1, another epsilon)",
    ),
    (r"(^|\.)patch_embed\.", "a vision transformer"),
    (r"(^|\.)repeat_1\.0\.branch", "FaceNet's Inception-ResNet"),
    (r"(^|\.)layers\.0\.layers\.", "arcface_torch's MobileFaceNet"),
    (r"(^|\.)(enc|dec)\.\d+x\d+_", "an EDM2 generator, not a recognizer"),
    (r"(^|\.)layer1\.0\.conv1\.weight$", "a ResNet of another family (torchvision's names)"),
    (r"^(module\.)?(weight|kernel)$", "a classification head without its network"),
)


def load(path: Path, colour: checkpoints.Colour | None = None) -> tuple[checkpoints.Network, checkpoints.Description]:
    """The network of one of our checkpoints or of a published one, in eval mode, and what its input must be.

    `colour` is needed where the file and its family do not say, and must agree where they do. ValueError, one line,
    for anything else than a recognizer of the four families.
    """
    with readable(path, "checkpoint"):
        return _load(path, colour)


def _load(path: Path, colour: checkpoints.Colour | None) -> tuple[checkpoints.Network, checkpoints.Description]:
    if is_ours(path):
        net, description = checkpoints.load(path)
        _agree(path, colour, description.colour)
        return net, description
    state = tensors_of(path)
    prefix, family, name = _recognized(path, state)
    tensors = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    extra = [n for n in state if not n.startswith(prefix) and not n.startswith("head.")]
    if extra:
        raise ValueError(f"{path}: looks like {family} {name}, but also holds {some(extra)}")
    said = _said_beside(path) if family == "CVLFace" else {"arcface_torch": "rgb", "AdaFace": "bgr"}[family]
    _agree(path, colour, said)
    if not (order := colour or said):
        raise ValueError(
            f"{path}: a CVLFace checkpoint without its config.json or model.yaml does not say its colours: give rgb or bgr"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    description = checkpoints.published(name, order, f"{family} checkpoint {path.name}, sha256 {digest[:16]}")  # type: ignore[arg-type]
    net = checkpoints.make(description)
    try:
        refuse_misfits(net.state_dict(), tensors)
    except ValueError as error:
        raise ValueError(f"{path}: looks like {family} {name}, but {error}") from None
    finite_tensors(tensors, path)
    net.load_state_dict(tensors, strict=True)
    return net.eval(), description


def is_ours(path: Path) -> bool:
    """Whether a file is one of our recognizers; ValueError for another file of ours."""
    if path.suffix != ".safetensors":
        return False
    with readable(path, "checkpoint"), safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if other := [kind for kind in metadata if kind.startswith("scoremix ") and kind != checkpoints.KIND]:
        raise ValueError(f"{path}: a {other[0]}, not a recognizer")
    return checkpoints.KIND in metadata


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a file, training leftovers aside."""
    if path.suffix.lower() == ".onnx":
        raise ValueError(f"{path}: an ONNX model; give the .pt, .pth, .ckpt or .safetensors file it was made from")
    with readable(path, "checkpoint"):
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = read_torch(path)
    while isinstance(content, Mapping) and (
        inner := next((w for w in WRAPPERS if isinstance(content.get(w), Mapping)), "")
    ):
        content = content[inner]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: holds no network's tensors, but a {type(content).__name__}")
    return bare({str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)})


def bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names of the network: without what torch.compile, data parallelism and trainers put before."""
    state = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}
    while len(first := {name.partition(".")[0] for name in state} - {"head"}) == 1 and first < {*AROUND, ""}:
        around = f"{first.pop()}."
        state = {name.removeprefix(around): tensor for name, tensor in state.items()}
    return state


def _recognized(path: Path, state: Mapping[str, Tensor]) -> tuple[str, str, str]:
    """(prefix, family, name of `iresnet.build`) from the names of the tensors."""
    for prefix in PREFIXES:
        wrapped = "CVLFace" if prefix.endswith("net.") else None
        if f"{prefix}conv1.weight" in state and f"{prefix}prelu.weight" in state:
            counts = _counts(state, re.escape(prefix) + r"layer(\d)\.(\d+)\.conv1\.weight")
            for depth, units in FACE_UNITS.items():
                if counts == units:
                    return prefix, wrapped or "arcface_torch", f"iresnet{depth}"
            raise ValueError(f"{path}: an IR network of {counts} blocks, known are {_depths(FACE_UNITS)}")
        if f"{prefix}input_layer.0.weight" in state:
            if f"{prefix}body.0.res_layer.5.running_mean" not in state:
                raise ValueError(f"{path}: looks like face.evoLVe's IR network (other blocks), which is not supported")
            blocks = _counts(state, re.escape(prefix) + r"(body)\.(\d+)\.res_layer\.0\.weight")[0]
            squeeze = any(".se_block." in name for name in state)
            for depth, units in ADAFACE_UNITS.items():
                if blocks == sum(units):
                    return prefix, wrapped or "AdaFace", f"adaface_ir{'se' if squeeze else ''}{depth}"
            raise ValueError(f"{path}: an AdaFace network of {blocks} blocks, known are {_depths(ADAFACE_UNITS)}")
    for pattern, looks in OTHERS:
        if any(re.search(pattern, name) for name in state):
            raise ValueError(
                f"{path}: looks like {looks}; arcface_torch's, AdaFace's and CVLFace's IR networks are read"
            )
    raise ValueError(
        f"{path}: of none of the families arcface_torch, AdaFace, CVLFace (its tensors: {some(list(state))})"
    )


def _counts(state: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    numbered = [match.groups() for name in state if (match := re.fullmatch(pattern, name))]
    groups = sorted({group for group, _ in numbered})
    return tuple(sum(g == group for g, _ in numbered) for group in groups)


def _depths(units: Mapping[int, tuple[int, ...]]) -> str:
    return ", ".join(f"{depth}: {sum(u)}" for depth, u in units.items())


def _said_beside(path: Path) -> str | None:
    """`color_space` of the model's own settings beside a CVLFace checkpoint, in lower case; None where not said."""
    for name in ("config.json", "model.yaml"):
        file = path.with_name(name)
        if not file.is_file():
            continue
        try:
            settings = (parsed_json if file.suffix == ".json" else parsed_yaml)(text(file))
        except (OSError, ValueError):
            raise ValueError(f"{file}: not readable settings of a model") from None
        settings = settings.get("conf", settings) if isinstance(settings, dict) else {}
        said = str(settings.get("color_space", "")).lower()
        if said in ("rgb", "bgr"):
            return said
    return None


def _agree(path: Path, given: str | None, said: str | None) -> None:
    if given and said and given != said:
        raise ValueError(f"{path}: expects {said} images, {given} was asked for")
