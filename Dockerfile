# Serves a saved model over HTTP as a user without rights:
#
#   docker build -t sklfusion .
#   docker run --rm -p 8000:8000 -v "$PWD/model.sklf:/model/model.sklf:ro" sklfusion
#
# Keys of an LLM are given when it runs (-e OPENAI_API_KEY); none is in the image.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY sklfusion ./sklfusion
# The build of torch for processors: the default one brings two gigabytes for accelerators.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch \
    && /venv/bin/pip install --no-cache-dir ".[serve]" \
    && /venv/bin/sklfusion models install

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --shell /usr/sbin/nologin sklfusion
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/sklfusion
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["sklfusion", "serve"]
CMD ["/model/model.sklf", "--host", "0.0.0.0", "--port", "8000"]
