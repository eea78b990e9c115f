# Holdall in one image. What persists is in /app/data; the process is user 10001 and needs no more.

FROM python:3.12.12-slim-bookworm AS packages
COPY requirements.txt requirements.lock /
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check \
    -r /requirements.txt -c /requirements.lock

FROM python:3.12.12-slim-bookworm
RUN groupadd --gid 10001 holdall \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin holdall \
 && install --directory --owner 10001 --group 10001 --mode 0750 /app/data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/app/data \
    HOST=0.0.0.0 \
    FLASK_RUN_PORT=5000 \
    FLASK_APP=/app/app.py
USER 10001:10001
VOLUME /app/data
EXPOSE 5000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['FLASK_RUN_PORT'] + '/api/health', timeout=4)"]
CMD ["python", "-m", "config", "gunicorn", "app:app"]
