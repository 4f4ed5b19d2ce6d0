# scoremix in a container, for CPUs (the default) or for CUDA:
#   docker build -t scoremix .
#   docker build -t scoremix:cuda --build-arg TORCH_INDEX= .
#   docker run --rm -v "$PWD:/data" scoremix run --data /data/my_images         (CUDA: with --gpus all)
# PyTorch's wheels bring their own CUDA libraries: the host needs a driver alone.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE MANIFEST.in ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} -c /wheels/constraints.txt torch \
 && pip install --no-cache-dir -c /wheels/constraints.txt /wheels/*.whl \
 && useradd --create-home --uid 1000 scoremix \
 && install -d -o scoremix /data
USER 1000
WORKDIR /data
ENTRYPOINT ["scoremix"]
CMD ["--help"]
