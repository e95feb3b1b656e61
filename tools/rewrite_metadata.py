"""Change what a model file says about itself, and nothing else.

    python -m tools.rewrite_metadata MODEL.onnx --show > metadata.json
    python -m tools.rewrite_metadata MODEL.onnx metadata.json

In: an ONNX file, and its new `ModelMetadata` as JSON. Out: the same file with that metadata. The graph and the weights
are compared byte for byte before the file is replaced, so what was measured with the old file holds for the new one: a
`metrics.json` beside it that names the old SHA-256 gets the new SHA-256 and size, and its numbers stay.
"""

import argparse
import json
import sys
from pathlib import Path

import onnx

from alexnet import files
from alexnet.errors import UserError
from alexnet.inference.metadata import ModelMetadata

METRICS = "metrics.json"


def rewrite(path: Path, metadata: ModelMetadata) -> str:
    """Give the ONNX file at `path` this `metadata`; returns its SHA-256. Raises `UserError` on another file."""
    model = _load(path)
    rest, old = _without_metadata(model), files.sha256(path)
    onnx.helper.set_model_props(model, metadata.to_props())
    with files.replacing(path) as partial:
        onnx.save(model, partial)
        written = onnx.load(partial)
        found = ModelMetadata.from_props({item.key: item.value for item in written.metadata_props})
        assert found == metadata
        assert _without_metadata(written) == rest
    new = files.sha256(path)
    _carry_over(path.with_name(METRICS), old, new, path.stat().st_size)
    return new


def read(path: Path) -> ModelMetadata:
    """What the ONNX file at `path` says about itself. Raises `UserError` where it is not one of ours."""
    try:
        return ModelMetadata.from_props({item.key: item.value for item in _load(path).metadata_props})
    except ValueError as error:
        raise UserError(f"{path}: its metadata are missing or damaged ({error})") from error


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # of the file system, protobuf and onnx's checker
        raise UserError(f"{path}: not an ONNX file ({type(error).__name__})") from error
    return model


def _without_metadata(model: onnx.ModelProto) -> bytes:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    content: bytes = copy.SerializeToString(deterministic=True)
    return content


def _carry_over(metrics: Path, old: str, new: str, size: int) -> None:
    if not metrics.exists():
        return
    content = json.loads(metrics.read_text(encoding="utf-8"))
    if content["model"]["sha256"] == old:
        content["model"] |= {"sha256": new, "bytes": size}
        files.write_json(metrics, content)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Change what a model file says about itself, and nothing else.")
    parser.add_argument("model", type=Path)
    parser.add_argument("metadata", type=Path, nargs="?", help="JSON file with the new metadata")
    parser.add_argument("--show", action="store_true", help="print the metadata as JSON")
    options = parser.parse_args(arguments)
    if options.show == (options.metadata is not None):
        parser.error("give either --show or a JSON file")
    try:
        if options.show:
            print(read(options.model).model_dump_json(indent=2))
            return 0
        try:
            metadata = ModelMetadata.model_validate_json(options.metadata.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"{options.metadata}: {' '.join(str(error).split())}") from error
        print(f"{options.model}: sha256 {rewrite(options.model, metadata)}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
