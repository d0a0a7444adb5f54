# The image of GPU workers, on Dataflow or beside Flink's task managers; and that of the Flex Template.
#
#   docker build -t IMAGE .                                  without weights: workers read them from --model_dir
#   docker build -t IMAGE --build-arg MODEL_DIR=models .     with the weights that are in ./models
#   docker build -t IMAGE --target flex_template .           the same, and Dataflow's launcher (docs/dataflow.md)
#
# PYTHON_VERSION must be the launcher's, BEAM_VERSION that of constraints.txt (a test compares them).
ARG PYTHON_VERSION=3.11
ARG BEAM_VERSION=2.77.0
ARG CUDA_VERSION=12.8.1
# The tag that Google's own samples use; its names have python311 where ours have 3.11 (a test compares them).
ARG TEMPLATE_LAUNCHER=gcr.io/dataflow-templates-base/python311-template-launcher-base:20230622_RC00

FROM apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION} AS beam

FROM ${TEMPLATE_LAUNCHER} AS template_launcher

FROM nvidia/cuda:${CUDA_VERSION}-base-ubuntu24.04 AS package
ARG PYTHON_VERSION

COPY --from=ghcr.io/astral-sh/uv:0.9 /uv /usr/local/bin/uv
ENV UV_PYTHON_INSTALL_DIR=/opt/python PATH=/opt/venv/bin:$PATH
# gcc and libc6-dev: with them Triton compiles the encoder's kernel when a model is loaded on a GPU.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && uv venv --seed --python ${PYTHON_VERSION} /opt/venv
ENV VIRTUAL_ENV=/opt/venv

WORKDIR /opt/beam_curator
# Dependencies first: they change less often than the package.
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
RUN uv pip install --no-cache --constraint constraints.txt --requirements pyproject.toml --extra gcp --extra aws --extra language
COPY beam_curator beam_curator
COPY pipelines pipelines
RUN uv pip install --no-cache --no-deps .

ARG MODEL_DIR=""
RUN --mount=type=bind,target=/context \
    if [ -n "${MODEL_DIR}" ]; then cp -r "/context/${MODEL_DIR}" /opt/models; else mkdir /opt/models; fi
ENV BEAM_CURATOR_MODEL_DIR=/opt/models

COPY --from=beam /opt/apache/beam /opt/apache/beam
# The packages above are the workers' packages: no environment is made anew on each start.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# Dataflow calls its launcher by its own path, so this image serves its workers as well.
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM package AS flex_template
COPY --from=template_launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/beam_curator/pipelines/curate_images.py

# Last, so that it is what is built without --target.
FROM package AS worker
