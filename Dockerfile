# One image for every process of the platform; docker-compose.yml picks the command.
FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /opt/crawldock


# The dependencies alone: made anew only when the lock changes.
FROM base AS dependencies
# The version in uv.lock. Only this stage uses it; the platform brings its own.
ARG UV_VERSION=0.13.9
RUN --mount=type=cache,target=/root/.cache \
    pip install --quiet --root-user-action=ignore "uv==$UV_VERSION"
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache \
    UV_LINK_MODE=copy uv sync --frozen --no-dev --extra s3 --no-install-project --compile-bytecode


FROM base
# A fixed number, so that files in a volume keep their owner when the image is rebuilt.
RUN useradd --create-home --uid 1000 crawldock \
    && install -d -o crawldock -g crawldock /data
# All of it belongs to root: nothing that runs in a container can change the program.
COPY --from=dependencies /opt/crawldock/.venv .venv
COPY . .
# Editable, since the code finds its lock file, migrations and examples beside itself.
RUN --mount=type=cache,target=/root/.cache \
    UV_LINK_MODE=copy .venv/bin/uv sync --frozen --no-dev --extra s3 \
    && .venv/bin/python -m compileall -q app worker alembic
# uv's cache lies in the volume, where virtualenvs can share its files by hard links.
ENV PATH=/opt/crawldock/.venv/bin:$PATH \
    CRAWLDOCK_HOST=0.0.0.0 \
    CRAWLDOCK_DATA_DIR=/data \
    UV_CACHE_DIR=/data/uv-cache
USER crawldock
EXPOSE 8000
CMD ["crawldock", "api"]
