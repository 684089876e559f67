# The image for SageMaker, local mode and `docker run`: `train` and `serve` of this project.
# Build it unchanged with `docker build .` (BuildKit, the default since Docker 23) or `make image`.

# Several hosts communicate through PyTorch's CPU build; `--build-arg TORCH=false` leaves it out.
ARG TORCH=true
# `--build-arg BASE_IMAGE=python:3.11-slim-bookworm@sha256:...` pins what all stages are based on.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# `--build-context build=FOLDER` takes its place: FOLDER/wheels has the wheels of another processor (`make image-arm`).
FROM ${BASE_IMAGE} AS build

# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements-build.txt ./
RUN pip install --no-cache-dir --root-user-action=ignore --require-hashes --requirement requirements-build.txt
COPY . ./
ARG REVISION=unknown
RUN echo "$REVISION" > container/REVISION \
 && pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheels . ./container


# Replaces an index that cannot be reached: `--build-context wheels=FOLDER`, with PyTorch's wheel in it.
FROM scratch AS wheels


FROM ${BASE_IMAGE} AS torch-false

RUN mkdir -p /torch


FROM ${BASE_IMAGE} AS torch-true

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# The headers, PyTorch's test programs and the packages' own tests are a fifth of what is installed.
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    if ls /wheels/torch-*.whl; then set -- --no-index --find-links /wheels; else set -- --index-url "$TORCH_INDEX"; fi \
 && torch=$(sed -n 's/^\(torch==.*\)/\1+cpu/p' /constraints.txt) \
 && pip download --no-cache-dir --no-deps --dest /tmp/torch "$@" "$torch" \
 && pip install --no-cache-dir --root-user-action=ignore --prefix /torch \
      --constraint /constraints.txt /tmp/torch/*.whl \
 && rm -r /tmp/torch \
 && site=/torch/lib/python3.11/site-packages \
 && rm -r "$site/torch/include" "$site/torch/test" \
 && find "$site/torch/bin" -mindepth 1 -not -name torch_shm_manager -delete \
 && find "$site" -depth -type d -name tests -exec rm -rf {} +


# hadolint ignore=DL3006
FROM torch-${TORCH} AS torch


FROM ${BASE_IMAGE}

# The base image's own build tools are older than the pins, and not needed.
RUN pip uninstall --yes --quiet --root-user-action=ignore setuptools wheel

COPY --link --from=torch /torch/ /usr/local/

# The kernels' threads need libgomp1. The packages' own tests are a sixth of what is installed. Nothing in
# the image installs packages: pip goes last.
# hadolint ignore=DL3008
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,source=requirements-image.txt,target=/requirements-image.txt \
    apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
 && pip install --no-cache-dir --root-user-action=ignore --require-hashes --requirement /requirements-image.txt \
 && pip install --no-cache-dir --root-user-action=ignore --no-deps --no-index \
      /wheels/factorization_machines-*.whl /wheels/factorization_machines_container-*.whl \
 && find /usr/local/lib/python3.11/site-packages -depth -type d -name tests -exec rm -rf {} + \
 && pip uninstall --yes --quiet --root-user-action=ignore pip

# Logs are not buffered, and the file system may be read-only.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

# Last, as they differ in each build: whatever stood below them would be made again.
ARG BASE_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="factorization-machines" \
      org.opencontainers.image.description="Factorization Machines for Amazon SageMaker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true" \
      com.amazonaws.sagemaker.capabilities.multi-models="true"

EXPOSE 8080
ENTRYPOINT ["factorization-machines"]
CMD ["train"]
