"""A run to MLflow: its settings, epochs, files and model. The only import of mlflow (extra `mlflow`).

In: a run's configuration, the metrics of each epoch, an ONNX file, and the address of a tracking server or database.
Out: one MLflow run for each run of ours; its id stays in the run's folder, as `mlflow.json`, so that a resumed run
continues the same one.
"""

import dataclasses
import importlib
import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any, Final

from alexnet import files
from alexnet.errors import UserError
from alexnet.inference.metadata import ModelMetadata
from training.checkpoint import BEST, EpochMetrics
from training.run_config import RunConfig

EXPERIMENT: Final = "alexnet-cifar10"  # unless MLFLOW_EXPERIMENT_NAME, of MLflow's own, names another
FILE: Final = "mlflow.json"
ARTEFACTS: Final = ("config.json", "metrics.csv")
_LOADED_WITH: Final = ("onnx", "onnxruntime")
# Long enough for a busy server, short enough to let training go on; MLflow alone would ask for many minutes.
_LIMITS: Final = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowRun:
    """One run in MLflow, at the address `uri`.

    Raises `UserError` where nothing at `uri` can be used, `ImportError` where mlflow is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.name = "MLflow"
        self._mlflow = _require()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        try:
            self._mlflow.set_tracking_uri(uri)  # MLflow's models know no other way to be told
            self._client: Any = self._mlflow.MlflowClient(uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment: str = found.experiment_id if found else self._client.create_experiment(experiment)
        except Exception as error:  # of MLflow, of its database's driver, of the network
            remedy = "give the address of a server, http://HOST:PORT, or of a database, sqlite:///mlflow.db"
            raise UserError(f"--mlflow {without_password(uri)}: {reason(error)}; {remedy}") from error
        if found and found.lifecycle_stage != "active":
            raise UserError(f"--mlflow: the experiment {experiment} was deleted there; restore it with MLflow")
        self._run_id = ""

    def begin(self, folder: Path, config: RunConfig, epochs_before: int) -> None:
        """Create the run of `folder`, or continue it where it is there."""
        self._run_id = self._find(folder) or self._create(folder, config)
        self._client.update_run(self._run_id, "RUNNING")

    def log(self, epoch: EpochMetrics) -> None:
        """Send the metrics of an epoch; those that were not measured are left out."""
        now, values = round(1000 * time.time()), dataclasses.asdict(epoch)
        number, metric = values.pop("epoch"), self._mlflow.entities.Metric
        metrics = [metric(name, value, now, number) for name, value in values.items() if value is not None]
        self._client.log_batch(self._run_id, metrics=metrics)

    def end(self, folder: Path, status: str) -> None:
        """Send the run's files and say how it ended: FINISHED (with the best weights), FAILED or KILLED."""
        for name in (*ARTEFACTS, BEST) if status == "FINISHED" else ARTEFACTS:
            if (folder / name).exists():
                self._client.log_artifact(self._run_id, str(folder / name))
        self._client.set_terminated(self._run_id, status)

    def log_model(self, folder: Path, config: RunConfig, model: Path, name: str | None) -> str:
        """Put the ONNX file `model`, as it is, into the run of `folder`; returns the model's URI.

        With `name` it becomes the next version of the registered model of that name, which is made when absent. A run
        that was not tracked gets an MLflow run with its settings, and without its epochs.
        """
        import onnx  # with torch's export, hence here

        run_id = self._find(folder)
        is_new = run_id is None
        self._run_id = run_id or self._create(folder, config)
        loaded = onnx.load(model)
        described = ModelMetadata.from_props({item.key: item.value for item in loaded.metadata_props})
        self._mlflow.set_experiment(experiment_id=self._experiment)  # else models go into the default one
        info = self._mlflow.models.Model.log(
            artifact_path=None,
            name="model",
            flavor=importlib.import_module("mlflow.onnx"),
            run_id=self._run_id,
            onnx_model=loaded,
            save_as_external_data=False,
            signature=self._signature(loaded),
            pip_requirements=[f"{item}=={importlib.import_module(item).__version__}" for item in _LOADED_WITH],
            metadata={"classes": list(described.classes), "sha256": files.sha256(model)},
        )
        if is_new:
            self.end(folder, "FINISHED")
        if name is None:
            return str(info.model_uri)
        try:
            self._client.create_registered_model(name)
        except self._mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self._client.create_model_version(name, info.model_uri, self._run_id, model_id=info.model_id)
        return f"models:/{name}/{version.version}"

    def _find(self, folder: Path) -> str | None:
        """The id of the run that `folder` has there; None where there is none, or it was deleted."""
        try:
            run_id: str = json.loads((folder / FILE).read_text(encoding="utf-8"))["run_id"]
            run = self._client.get_run(run_id)
        except (FileNotFoundError, ValueError, KeyError):
            return None
        except self._mlflow.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # it is of another server
                return None
            raise
        return run_id if run.info.lifecycle_stage == "active" else None

    def _create(self, folder: Path, config: RunConfig) -> str:
        """A new run with settings as parameters, but with the device and precision in use; versions as tags."""
        run_id: str = self._client.create_run(self._experiment, run_name=config.run).info.run_id
        values = {**config.settings, "device": config.device, "precision": config.precision}
        params = [self._mlflow.entities.Param(name, str(value)) for name, value in values.items()]
        tags = [self._mlflow.entities.RunTag(name, str(value)) for name, value in config.environment.items()]
        self._client.log_batch(run_id, params=params, tags=tags)
        files.write_json(folder / FILE, {"run_id": run_id})
        return run_id

    def _signature(self, model: Any) -> Any:
        """Names, types and shapes of what the file takes and gives, -1 for the number of images."""
        from onnx.helper import tensor_dtype_to_np_dtype

        types = self._mlflow.types

        def schema(tensors: Any) -> Any:
            specs = []
            for tensor in tensors:
                kind, shape = tensor.type.tensor_type.elem_type, tensor.type.tensor_type.shape.dim
                sides = tuple(side.dim_value or -1 for side in shape)
                specs.append(types.TensorSpec(tensor_dtype_to_np_dtype(kind), sides, tensor.name))
            return types.Schema(specs)

        return self._mlflow.models.ModelSignature(schema(model.graph.input), schema(model.graph.output))


def _require() -> Any:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # since 3.2 it would report to its makers from its import on
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)
    mlflow = importlib.import_module("mlflow")
    for name in ("mlflow.entities", "mlflow.models", "mlflow.types", "mlflow.onnx"):
        importlib.import_module(name)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)  # it reports every table that it makes
    return mlflow


def reason(error: Exception) -> str:
    """What went wrong, in part of a line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return without_password(re.split(r"(?<=\w{3})\. ", text)[0][:200])


def without_password(text: str) -> str:
    """`text`, which may hold addresses, without the users and passwords in them."""
    return re.sub(r"://[^/@\s]+@", "://", text)
