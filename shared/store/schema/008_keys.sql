-- Further secrets of an enterprise, and when one ends. What a secret is, is not kept: `digest` is its
-- SHA-256, which tells nobody a random one of 256 bits. `number` is the enterprise's as it stands in
-- `enterprises`. A row `of_table` is about a secret that stood there: it may end it, and grants nothing.
CREATE TABLE callapi.keys (
  digest     bytea NOT NULL,
  number     text NOT NULL,
  name       text NOT NULL,
  of_table   boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  until      timestamptz,   -- NULL: it does not end
  PRIMARY KEY (digest, number),
  UNIQUE (number, name)
);
