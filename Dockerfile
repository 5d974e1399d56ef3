# An image with the package, the recipes and everything that they need.
#   docker build -t espnet-ext .
#   docker build -t espnet-ext:gpu --build-arg BASE=nvidia/cuda:13.0.1-runtime-ubuntu24.04 .
#   docker run --rm espnet-ext        # a short check
# BASE is an Ubuntu 24.04, which has Python 3.12. PIP_OPTIONS are passed to pip, for example
# --build-arg PIP_OPTIONS="--extra-index-url URL" for a PyTorch without CUDA.
ARG BASE=ubuntu:24.04

FROM ${BASE} AS wheel
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ARG PIP_OPTIONS=""
# hadolint ignore=SC2086
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip wheel --no-cache-dir --no-deps ${PIP_OPTIONS} --wheel-dir /dist .

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv git \
    && rm -rf /var/lib/apt/lists/*
ARG PIP_OPTIONS=""
ARG EXTRAS=synth,pretrained,vad,tables
COPY local/constraints.txt /opt/constraints.txt
COPY --from=wheel /dist /opt/dist
# hadolint ignore=SC2086
RUN python3 -m venv /opt/env \
    && wheel=$(echo /opt/dist/*.whl) \
    && /opt/env/bin/pip install --no-cache-dir ${PIP_OPTIONS} -c /opt/constraints.txt \
        "${wheel}[${EXTRAS}]"
ENV VIRTUAL_ENV=/opt/env PATH=/opt/env/bin:${PATH} PYTHONUTF8=1
RUN useradd --create-home --uid 10001 worker && mkdir /experiments && chown worker /experiments
USER 10001
WORKDIR /experiments
CMD ["bash", "-c", "espnet-ext doctor --hub_timeout 0 && espnet-ext new_recipe /tmp/check --recipes mini_l2 && /tmp/check/run.sh --quick --langs en --stop_stage 5"]
