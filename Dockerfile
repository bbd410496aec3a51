# syntax=docker/dockerfile:1
# The controller alone on an empty base: the binary, the libraries it loads, CA certificates, one user without rights. No shell.
#   make docker-build IMG=...            or: docker build --target testbed . for the emulated inference server
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY tools/install-deps.sh tools/
RUN INFERNO_DEPS=build tools/install-deps.sh
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY deploy deploy
COPY src src
COPY testbed testbed
COPY tools tools
ARG COMMIT=unknown
RUN cmake --preset image -DINFERNO_COMMIT=$COMMIT && cmake --build --preset image --target inferno inferno-testbed
RUN tools/make-rootfs.sh build/image/inferno /rootfs/controller && tools/make-rootfs.sh build/image/inferno-testbed /rootfs/testbed

# The emulated vLLM server of the samples.
FROM scratch AS testbed
COPY --from=build /rootfs/testbed/ /
USER 65532:65532
ENTRYPOINT ["/usr/bin/inferno-testbed"]

FROM scratch AS controller
COPY --from=build /rootfs/controller/ /
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/usr/bin/inferno"]
