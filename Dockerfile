# `nss-wgpu serve` on the processor, as nobody; docs/serve.md says how it is run, and what a GPU needs.
#
# The wheel is built in the first stage, and what is installed of it is all that the second one gets.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY engine engine
COPY shaders shaders
COPY nss nss
COPY web web
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
RUN python -m venv --without-pip /opt/nss-wgpu \
    && pip --python /opt/nss-wgpu/bin/python install --no-cache-dir --no-compile "$(echo /wheels/*.whl)[serve]"

FROM python:${PYTHON}-slim
# "libvulkan1 libegl1 libxext6" for an NVIDIA card
ARG PACKAGES=""
RUN if [ -n "$PACKAGES" ]; then \
        apt-get update && apt-get install -y --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*; \
    fi
# a new volume gets the owner of the folder that it takes the place of
RUN install -d -m 700 -o 65534 -g 65534 /var/lib/nss-wgpu
COPY --from=build /opt/nss-wgpu /opt/nss-wgpu
# what the image does not have compiled is compiled at each start, and nobody may write it there
ENV PATH=/opt/nss-wgpu/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/nss-wgpu \
    XDG_CACHE_HOME=/var/lib/nss-wgpu/cache \
    NSS_SERVE_TOKEN_FILE=/run/secrets/nss-token
VOLUME /var/lib/nss-wgpu
USER 65534:65534
EXPOSE 8765
# a proxy of the environment's does not lead back into the container
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "from urllib.request import ProxyHandler, build_opener as b; b(ProxyHandler({})).open('http://127.0.0.1:8765/healthz', timeout=4)"]
ENTRYPOINT ["nss-wgpu", "serve", "--host", "0.0.0.0", "--port", "8765", "--allow-remote"]
