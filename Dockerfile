# The image that SageMaker, local mode and `docker run` meet: `train` and `serve` of this project.
# A user builds it unchanged with `docker build .` (BuildKit, the default since Docker 23) or `make image`.

FROM python:3.11-slim-bookworm AS build

# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir --root-user-action=ignore --constraint constraints.txt setuptools wheel Cython
COPY . ./
RUN pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheels .


FROM python:3.11-slim-bookworm

ARG VERSION=unknown
LABEL org.opencontainers.image.title="factorization-machines" \
      org.opencontainers.image.description="Factorization Machines for Amazon SageMaker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true" \
      com.amazonaws.sagemaker.capabilities.multi-models="true"

# libgomp1 is what the kernels' threads run on. The packages' own tests are a sixth of what is installed.
# hadolint ignore=DL3008
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
 && set -- /wheels/*.whl \
 && pip install --no-cache-dir --root-user-action=ignore --constraint /constraints.txt "$1[metrics,report]" \
 && find /usr/local/lib/python3.11/site-packages -depth -type d -name tests -exec rm -rf {} +

# Logs come as they are written, and a read-only file system is no hindrance.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

EXPOSE 8080
ENTRYPOINT ["factorization-machines"]
CMD ["train"]
