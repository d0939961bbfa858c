# Builds the layer where there is no Python 3.13, from the project's folder:
#   docker build -f deploy/examples/build.Dockerfile --output type=local,dest=layer .
#   LAYER=$PWD/layer deploy/deploy dev
# The functions need make alone. For arm64 add --build-arg ARCHITECTURE=arm64, on any machine, since nothing
# is compiled.
FROM public.ecr.aws/docker/library/python:3.13-slim-bookworm AS build

ARG ARCHITECTURE=x86_64
# hadolint ignore=DL3008 # make has one command-line and needs no certain version
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*

WORKDIR /build/shared
COPY shared .
RUN make build-SharedLayer PYTHON=python ARTIFACTS_DIR=/artifacts ARCHITECTURE="$ARCHITECTURE"

FROM scratch
COPY --from=build /artifacts /
