"""A run to MLflow: its settings, epochs, files and model. The only import of mlflow (extra `mlflow`).

In: the files of a run, an ONNX file, and the address of a tracking server or database. Out: one MLflow run for each run
of ours; its id stays in the run's folder, as `mlflow.json`, so that whoever continues the run continues that one. Which
epochs are there already MLflow itself is asked, so that none is missing and none is there twice.
"""

import importlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from alexnet import files
from alexnet.errors import UserError
from alexnet.inference.metadata import ModelMetadata

EXPERIMENT: Final = "alexnet-cifar10"  # unless MLFLOW_EXPERIMENT_NAME, of MLflow's own, names another
FILE: Final = "mlflow.json"
ARTEFACTS: Final = ("config.json", "metrics.csv")
WEIGHTS: Final = "best.pt"
_WITNESS: Final = "validation_loss"  # of an epoch: sent with all others of it
_LOADED_WITH: Final = ("onnx", "onnxruntime")
# Long enough for a busy server, short enough to let training go on; MLflow alone would ask for many minutes.
_PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowRuns:
    """One run in MLflow, at the address `uri`; found or made by the first `send`."""

    name: Final = "MLflow"

    def __init__(self, uri: str, *, training: bool) -> None:
        """With `training`, the run is said to be running until `end`.

        Raises `UserError` where mlflow is not installed, or nothing at `uri` can be used.
        """
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
        self._training = training
        self._run: Any = None
        self._made = False
        self._sent: set[int] | None = None  # epochs; None where MLflow is to be asked

    def send(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> None:
        """Send what MLflow lacks of the run. Raises what MLflow raises; the next call sends what this one did not."""
        if self._run is None:
            self._run = self._find(folder) or self._create(folder, config, rows)
        run_id, metric = self._run.info.run_id, self._mlflow.entities.Metric
        if self._sent is None:
            self._describe(run_id, config)
            if self._training:
                self._client.update_run(run_id, "RUNNING")
            self._sent = {item.step for item in self._client.get_metric_history(run_id, _WITNESS)}
        known, self._sent = self._sent, None  # until all is there
        ended = self._run.info.start_time
        for row in rows:
            # The same at every try: what arrived though no answer came is not there twice.
            ended += round(row["seconds"] * 1000)
            epoch = int(row["epoch"])
            if epoch not in known:
                values = [metric(name, value, ended, epoch) for name, value in row.items() if name != "epoch"]
                self._client.log_batch(run_id, metrics=values)
                known.add(epoch)
        self._sent = known

    def end(self, folder: Path, status: str) -> None:
        """Send the run's files and say how it ended: FINISHED (with the best weights), FAILED or KILLED."""
        run_id = self._run.info.run_id
        for name in (*ARTEFACTS, WEIGHTS) if status == "FINISHED" else ARTEFACTS:
            if (folder / name).exists():
                self._client.log_artifact(run_id, str(folder / name))
        self._client.set_terminated(run_id, status)

    def log_model(self, folder: Path, model: Path, name: str | None) -> str:
        """Put the ONNX file `model`, as it is, into the run, which was sent before; returns the model's URI.

        With `name` it becomes the next version of the registered model of that name, which is made when absent. A run
        that was not in MLflow before gets its files too.
        """
        import onnx  # with torch's export, hence here

        loaded, run_id = onnx.load(model), self._run.info.run_id
        described = ModelMetadata.from_props({item.key: item.value for item in loaded.metadata_props})
        self._mlflow.set_experiment(experiment_id=self._run.info.experiment_id)  # else models go into the default one
        info = self._mlflow.models.Model.log(
            artifact_path=None,
            name="model",
            flavor=importlib.import_module("mlflow.onnx"),
            run_id=run_id,
            onnx_model=loaded,
            save_as_external_data=False,
            signature=self._signature(loaded),
            pip_requirements=[f"{item}=={importlib.import_module(item).__version__}" for item in _LOADED_WITH],
            metadata={"classes": list(described.classes), "sha256": files.sha256(model)},
        )
        if self._made:
            self.end(folder, "FINISHED")
        if name is None:
            return str(info.model_uri)
        try:
            self._client.create_registered_model(name)
        except self._mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self._client.create_model_version(name, info.model_uri, run_id, model_id=info.model_id)
        return f"models:/{name}/{version.version}"

    def _find(self, folder: Path) -> Any:
        """The run that `folder` has there; None where there is none, or it was deleted."""
        try:
            run_id = json.loads((folder / FILE).read_text(encoding="utf-8"))["run_id"]
            run = self._client.get_run(run_id)
        except (FileNotFoundError, ValueError, KeyError):
            return None
        except self._mlflow.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # it is of another server
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _create(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> Any:
        started = round(1000 * (time.time() - sum(row["seconds"] for row in rows)))
        run = self._client.create_run(self._experiment, started, run_name=config["run"])
        files.write_json(folder / FILE, {"run_id": run.info.run_id})
        self._made = True
        return run

    def _describe(self, run_id: str, config: Mapping[str, Any]) -> None:
        """Settings as parameters, but with the device and the precision that were chosen; versions as tags.

        MLflow lets no parameter change: `epochs` stays what it was at first when a run is made longer.
        """
        values = {**config["settings"], "device": config["device"], "precision": config["precision"]}
        there = self._client.get_run(run_id).data.params
        params = [self._mlflow.entities.Param(name, str(value)) for name, value in values.items() if name not in there]
        tags = [self._mlflow.entities.RunTag(name, str(value)) for name, value in config["environment"].items()]
        self._client.log_batch(run_id, params=params, tags=tags)

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
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    mlflow = importlib.import_module("mlflow")
    for name in ("mlflow.entities", "mlflow.models", "mlflow.types", "mlflow.onnx"):
        importlib.import_module(name)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)  # it tells of every table that it makes
    return mlflow


def reason(error: Exception) -> str:
    """What went wrong, in part of a line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return without_password(re.split(r"(?<=\w{3})\. ", text)[0][:200])


def without_password(text: str) -> str:
    """`text`, which may hold addresses, without the users and passwords in them."""
    return re.sub(r"://[^/@\s]+@", "://", text)
