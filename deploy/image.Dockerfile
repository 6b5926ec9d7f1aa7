# The image that make image builds: deploy/image puts the binaries and the other files together.
FROM scratch
ARG TARGETARCH
COPY root/ /
COPY --chown=65532:65532 own/ /var/
COPY trellis-${TARGETARCH} /trellis
ENV XDG_CACHE_HOME=/var/cache XDG_DATA_HOME=/var/lib
VOLUME /var/lib/trellis
USER 65532:65532
EXPOSE 7070
ENTRYPOINT ["/trellis"]
