# docker build -t martlet . && docker run -p 1883:1883 -v martlet:/var/lib/martlet martlet
FROM rust:1-slim-bookworm AS build
WORKDIR /martlet
COPY . .
RUN cargo build --release --locked -p martlet

FROM debian:bookworm-slim
COPY --from=build /martlet/target/release/martlet /usr/local/bin/martlet
COPY packaging/martlet.toml /etc/martlet.toml
# A volume: the container's own layer goes with the container.
RUN install -d -m 0700 -o 65534 -g 65534 /var/lib/martlet
VOLUME /var/lib/martlet
ENV MARTLET_DATA_DIR=/var/lib/martlet
USER 65534:65534
EXPOSE 1883
# Inside a container loopback cannot be reached from outside. What is published with -p is open to whoever
# reaches the host's port: publish to 127.0.0.1 (-p 127.0.0.1:1883:1883) unless the network is trusted.
ENV MARTLET_LISTEN=0.0.0.0:1883 MARTLET_ALLOW_ANONYMOUS=true
ENTRYPOINT ["martlet"]
CMD ["broker"]
