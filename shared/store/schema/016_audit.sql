-- Who did what, to whom, when, with what end. Of a call or a monitoring the end is its row's to say, as
-- long as that is kept. `whom` is the number or extension that was meant, or what an operator said.
CREATE TABLE callapi.audit (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  enterprise text NOT NULL,      -- its number; empty: what an operator did concerns no single one
  action     text NOT NULL,      -- call, monitor, transfer, hang-up; rules, keys, host-key, purge
  done_by    text NOT NULL CHECK (done_by IN ('client', 'operator', 'panel')),
  secret     text,               -- which of the enterprise's: its name and fingerprint
  actor      text,               -- X-Actor as the client sent it, or the operator's name
  address    text,
  request_id text,
  call_id    uuid,
  code       text,
  whom       text NOT NULL,
  outcome    text                -- executed, not_executed; NULL: the call's row says it, or nobody knows
);
CREATE UNIQUE INDEX audit_once ON callapi.audit (call_id, action, at) WHERE call_id IS NOT NULL;
CREATE INDEX audit_by_page ON callapi.audit (enterprise, at DESC, id DESC);
CREATE INDEX audit_by_time ON callapi.audit (at DESC, id DESC);

-- Whether an enterprise may read its own, GET /api/audit.
ALTER TABLE callapi.enterprise_rules ADD COLUMN audit boolean NOT NULL DEFAULT false;
