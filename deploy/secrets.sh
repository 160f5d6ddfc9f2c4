#!/bin/sh
# Makes the secrets of docker-compose.yml, each once: run it again and what is there stays.
# Readable by others because the containers' users are not yours; the folder itself is not.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets && chmod 700 secrets && cd secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
new() { [ -s "$1" ] || { cat > "$1.new" && chmod 444 "$1.new" && mv "$1.new" "$1"; }; }
random | new database_password
printf 'postgresql://durian:%s@postgres/durian' "$(cat database_password)" | new database_url
random | new store_key
random | new store_secret
random | new pepper
random | new grafana_password
printf 'put the key here that `docker compose run --rm api keys create --role reader` prints' | new metrics_key
