"""The environment variables of a server, parsed once into frozen settings."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from container.environment import boolean, integer, opt_ml, seconds
from container.serving.spool import SPOOLED
from fm_core.errors import ConfigError

__all__ = ["BATCH_PAYLOAD", "REAL_TIME_PAYLOAD", "ServingSettings"]

#: What a client may send in one request, in bytes: SageMaker's own bounds.
REAL_TIME_PAYLOAD = 6 * 2**20
BATCH_PAYLOAD = 100 * 2**20

#: A request takes at most so many times its body: the body, parts of it as Python objects, the answer.
_MEMORY_TO_BODY = 15

#: What a worker's two processes take before any request, in bytes.
_MEMORY_OF_WORKER = 64 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingSettings:
    """The settings of a server.

    Attributes
    ----------
    root : Path
        ``FM_OPT_ML``.
    port : int
        ``SAGEMAKER_BIND_TO_PORT``.
    metrics_port : int or None
        ``FM_METRICS_PORT``: where Prometheus metrics are served; ``auto`` is the first other
        port of ``SAGEMAKER_SAFE_PORT_RANGE``; unset: nowhere.
    workers : int
        ``SAGEMAKER_MODEL_SERVER_WORKERS``: pairs of processes; by default one for each core, fewer where
        so many of the largest requests would not fit in the memory.
    queue : int
        ``FM_SERVER_QUEUE``: for each worker, requests that take long (a body above 64 KB, an explanation)
        which may be computed or wait; one more is answered 503 at once.
    body_memory : int
        Bytes of memory that bodies may take together while they come in and wait.
    client_timeout : float
        ``FM_CLIENT_TIMEOUT_SECONDS``: how long a client may keep the server waiting for the rest of a head,
        the next bytes of a body, or the reading of an answer.
    predict_threads : int
        Threads of one prediction: the cores if there is one worker, else 1.
    timeout : int
        ``SAGEMAKER_MODEL_SERVER_TIMEOUT``: seconds without a heartbeat after which a worker is replaced.
    max_content_length : int
        ``MAX_CONTENT_LENGTH``: the largest body taken, in bytes; by default 6 MB, and in batch
        transform ``SAGEMAKER_MAX_PAYLOAD_IN_MB`` or 100 MB.
    default_accept : str
        ``SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT``: the answer's media type where the client
        leaves the choice.
    log_level : int
        ``SAGEMAKER_CONTAINER_LOG_LEVEL``, as the levels of `logging`; above 20 requests that
        succeed are not logged.
    max_concurrent_transforms, max_payload_mb : int
        ``SAGEMAKER_MAX_CONCURRENT_TRANSFORMS``, ``SAGEMAKER_MAX_PAYLOAD_IN_MB``: what
        /execution-parameters answers; by default from the workers and the memory.
    batch_strategy : {"MULTI_RECORD", "SINGLE_RECORD"}
        ``SAGEMAKER_BATCH_STRATEGY``.
    is_batch : bool
        ``SAGEMAKER_BATCH``: whether bodies may be pieces of a file.
    drift_window : float
        ``FM_DRIFT_WINDOW_SECONDS``: how far back the stability index of the scores looks.
    multi_model : bool
        ``SAGEMAKER_MULTI_MODEL``: models come and go by the /models API.
    model_memory : int
        ``FM_MODEL_MEMORY_MB``, in bytes here: what the models of a multi-model endpoint may
        take together; by default 70 % of the memory.
    model_load_seconds : float
        ``FM_MODEL_LOAD_SECONDS``: the time limit for reading a model.
    schema : str or None
        ``FM_SCHEMA``: the file in the model's folder by which named columns become features;
        None: schema.json, if it is there.
    unseen : {"error", "ignore"}
        ``FM_UNSEEN``: what a category is that the schema does not have.
    """

    root: Path = dataclasses.field(default_factory=lambda: opt_ml({}))
    port: int = 8080
    metrics_port: int | None = None
    workers: int = 1
    queue: int = 32
    body_memory: int = 256 * 2**20
    client_timeout: float = 20.0
    predict_threads: int = 1
    timeout: int = 60
    max_content_length: int = REAL_TIME_PAYLOAD
    default_accept: str = "application/json"
    log_level: int = 20
    max_concurrent_transforms: int = 1
    max_payload_mb: int = 6
    batch_strategy: str = "MULTI_RECORD"
    is_batch: bool = False
    drift_window: float = 86400.0
    multi_model: bool = False
    model_memory: int = 2**30
    model_load_seconds: float = 600.0
    schema: str | None = None
    unseen: str = "error"

    @property
    def ports(self) -> dict[int, str]:
        """The ports to listen at, and what each is set by."""
        of_metrics = {} if self.metrics_port is None else {self.metrics_port: "FM_METRICS_PORT"}
        return {self.port: "SAGEMAKER_BIND_TO_PORT, or --port of fm serve"} | of_metrics

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, cores: int, memory: int) -> "ServingSettings":
        """Parse the environment.

        Parameters
        ----------
        environ : mapping of str to str
        cores : int
            Those this container may use.
        memory : int
            Bytes this container may use.

        Raises
        ------
        ConfigError
            A variable has an invalid value; the message names it.
        """
        batch = boolean(environ, "SAGEMAKER_BATCH")
        payload_mb = integer(environ, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 0, 0, 100)
        limit = BATCH_PAYLOAD if batch else REAL_TIME_PAYLOAD
        if batch and payload_mb:
            limit = payload_mb * 2**20
        max_content_length = integer(environ, "MAX_CONTENT_LENGTH", limit, 1, 2**40)
        in_memory = min(max_content_length, SPOOLED)
        fitting = memory // (_MEMORY_OF_WORKER + _MEMORY_TO_BODY * in_memory)
        workers = integer(environ, "SAGEMAKER_MODEL_SERVER_WORKERS", max(1, min(cores, fitting)), 1, 1024)
        payload_mb = payload_mb or cls.max_payload_mb
        at_once = min(workers, 100 // payload_mb, memory // (_MEMORY_TO_BODY * payload_mb * 2**20))
        text = environ.get("SAGEMAKER_BATCH_STRATEGY") or cls.batch_strategy
        # The API spells it MultiRecord, the container's contract MULTI_RECORD.
        strategy = {"multirecord": "MULTI_RECORD", "singlerecord": "SINGLE_RECORD"}.get(text.lower().replace("_", ""))
        if strategy is None:
            raise ConfigError(
                f"environment variable SAGEMAKER_BATCH_STRATEGY is {text[:80]!r}, "
                "expected MULTI_RECORD or SINGLE_RECORD"
            )
        unseen = environ.get("FM_UNSEEN") or cls.unseen
        if unseen not in ("error", "ignore"):
            raise ConfigError(f"environment variable FM_UNSEEN is {unseen[:80]!r}, expected error or ignore")
        port = integer(environ, "SAGEMAKER_BIND_TO_PORT", cls.port, 1, 65535)
        return cls(
            root=opt_ml(environ),
            port=port,
            metrics_port=_metrics_port(environ, port),
            workers=workers,
            queue=integer(environ, "FM_SERVER_QUEUE", cls.queue, 1, 4096),
            body_memory=max(memory // 4, 2 * in_memory),
            client_timeout=seconds(environ, "FM_CLIENT_TIMEOUT_SECONDS", cls.client_timeout),
            predict_threads=cores if workers == 1 else 1,
            timeout=integer(environ, "SAGEMAKER_MODEL_SERVER_TIMEOUT", cls.timeout, 1, 86400),
            max_content_length=max_content_length,
            default_accept=environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or cls.default_accept,
            log_level=integer(environ, "SAGEMAKER_CONTAINER_LOG_LEVEL", cls.log_level, 0, 100),
            # 0 is documented to mean what no value means.
            max_concurrent_transforms=integer(environ, "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", 0, 0, 2**31)
            or max(1, at_once),
            max_payload_mb=payload_mb,
            batch_strategy=strategy,
            is_batch=batch,
            drift_window=seconds(environ, "FM_DRIFT_WINDOW_SECONDS", cls.drift_window),
            multi_model=boolean(environ, "SAGEMAKER_MULTI_MODEL"),
            model_memory=integer(environ, "FM_MODEL_MEMORY_MB", max(1, memory * 7 // 10 // 2**20), 1, 2**30) * 2**20,
            model_load_seconds=seconds(environ, "FM_MODEL_LOAD_SECONDS", cls.model_load_seconds),
            schema=environ.get("FM_SCHEMA") or None,
            unseen=unseen,
        )


def _metrics_port(environ: Mapping[str, str], port: int) -> int | None:
    text = environ.get("FM_METRICS_PORT")
    if not text:
        return None
    low, high = 1, 65535
    safe = environ.get("SAGEMAKER_SAFE_PORT_RANGE")
    if safe:
        match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", safe)
        if match is None or not 0 < int(match[1]) <= int(match[2]) <= 65535:
            raise ConfigError(
                f"environment variable SAGEMAKER_SAFE_PORT_RANGE is {safe!r}, expected two ports such as 9000-9999"
            )
        low, high = int(match[1]), int(match[2])
    if text == "auto" and safe:
        return low + 1 if low == port else low
    chosen = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    if not low <= chosen <= high or chosen == port:
        raise ConfigError(
            f"environment variable FM_METRICS_PORT is {text!r}, expected a port from {low} to {high} other than {port}"
            + (", or auto" if safe else "")
        )
    return chosen
