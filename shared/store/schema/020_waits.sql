-- Who waits for a change on AWS, where each request that waits takes an execution: a place, until it is
-- given back, or its time is over, as of an execution that died. After a crash of PostgreSQL nobody waits.
CREATE UNLOGGED TABLE callapi.waits (
  enterprise text NOT NULL,
  holder     uuid NOT NULL,
  until      timestamptz NOT NULL,
  PRIMARY KEY (enterprise, holder)
);
