# A finished model as a service: docs/serving.md.
#   docker build -t mammo .
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 -v "$PWD/light_cnn.zip:/model.zip:ro" mammo
FROM python:3.11-slim

RUN useradd --system --uid 10001 --no-create-home mammo
WORKDIR /app
COPY requirements.txt pyproject.toml README.md ./
RUN pip install --no-cache-dir -r requirements.txt
COPY src ./src
RUN pip install --no-cache-dir --no-deps .

# The file system may be read-only: what libraries write goes to /tmp.
ENV HOME=/tmp KERAS_HOME=/tmp/keras MPLCONFIGDIR=/tmp/matplotlib
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready')"]
ENTRYPOINT ["python", "-m", "mammo", "serve"]
CMD ["/model.zip", "--host", "0.0.0.0"]
