-- Which PBXs could not be connected, by whichever process, why, and until when nobody is to try; of one that
-- is tried just now, by which request. What a crash of PostgreSQL forgets is found out anew.
CREATE UNLOGGED TABLE callapi.broken_hosts (
  host   text PRIMARY KEY,
  code   text NOT NULL,         -- of the error, and its detail
  detail text NOT NULL,
  until  timestamptz NOT NULL,
  prober uuid
);
