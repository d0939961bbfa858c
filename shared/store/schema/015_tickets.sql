-- What opens one stream of events in the place of a secret, once and soon. What a ticket is, is not
-- kept: `digest` is its SHA-256, which tells nobody a random one of 256 bits. `secret_digest` is that
-- of the secret which it was given for, and ends with it; `wanted` is the stream's filters.
CREATE TABLE callapi.tickets (
  digest        bytea PRIMARY KEY,
  enterprise    text NOT NULL,
  secret_digest bytea NOT NULL,
  wanted        jsonb NOT NULL,
  until         timestamptz NOT NULL
);
CREATE INDEX tickets_by_enterprise ON callapi.tickets (enterprise, until);
CREATE INDEX tickets_by_time ON callapi.tickets (until);
