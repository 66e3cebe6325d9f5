# One image for all: head, control and session pods, the `fleet` command. Interpreter and code lie at
# the same paths on every node, as the fork server needs it (docs/forkserver.md).
# A digest pins more than a tag: --build-arg PYTHON_IMAGE=python:3.11.11-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.11.11-slim-bookworm
ARG NODE_IMAGE=node:22.12.0-bookworm-slim

FROM ${NODE_IMAGE} AS pages
WORKDIR /pages
COPY serve/web/package.json serve/web/package-lock.json serve/web/.npmrc ./
RUN npm ci
COPY serve/web/build.mjs serve/web/tsconfig.json ./
COPY serve/web/src src
RUN npm run check && npm run build

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
# uv as the lock has it, then what runs: the lock holds the versions and hashes of everything that is
# installed, and more (tests, load tests), which is left out.
RUN awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock > /tmp/uv.txt \
    && pip install --no-cache-dir --require-hashes --requirement /tmp/uv.txt \
    && python -m venv --without-pip /opt/fleet \
    && uv pip install --no-cache --compile-bytecode --python /opt/fleet/bin/python \
        --constraint requirements.lock --requirement pyproject.toml
COPY agent_actor agent_actor
COPY autoscaler autoscaler
COPY fleet fleet
COPY loadtest loadtest
COPY serve serve
RUN uv pip install --no-cache --compile-bytecode --python /opt/fleet/bin/python --no-deps \
        --build-constraint requirements.lock .
COPY --from=pages /pages/dist /opt/fleet/lib/python3.11/site-packages/serve/web/dist

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 fleet \
    && useradd --uid 10001 --gid fleet --home-dir /tmp --no-create-home --shell /usr/sbin/nologin fleet
COPY --from=build /opt/fleet /opt/fleet
# Writable is /tmp alone (an emptyDir on Kubernetes): Ray's session folder, and HOME.
ENV HOME=/tmp \
    PATH=/opt/fleet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
USER 10001:10001
WORKDIR /opt/fleet
CMD ["fleet", "--help"]
