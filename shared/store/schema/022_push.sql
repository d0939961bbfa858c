-- Connections of the WebSocket API on AWS, by whose functions nothing is kept between two messages. `wanted`
-- are the filters; `secret_digest` is that of the secret by which it was opened, and with which it ends.
-- Whoever is silent until `until` is closed, and all are at `ends_at`, as API Gateway does.
CREATE TABLE callapi.push_connections (
  id            text PRIMARY KEY,
  enterprise    text NOT NULL,
  secret_digest bytea NOT NULL,
  wanted        jsonb NOT NULL,
  until         timestamptz NOT NULL,
  ends_at       timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX push_connections_by_enterprise ON callapi.push_connections (enterprise);

-- The number up to which an enterprise's events were put where its connections are told them.
CREATE TABLE callapi.push_places (
  enterprise text PRIMARY KEY,
  seq        bigint NOT NULL
) WITH (fillfactor = 70);
