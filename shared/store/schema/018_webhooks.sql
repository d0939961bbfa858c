-- Where an enterprise's events are sent. `after_seq` is the number up to which all that is wanted was
-- accepted there; `wanted` are the filters. Of the secrets, which sign, the service must know what they
-- are; the one before signs too, until its end.
CREATE TABLE callapi.webhooks (
  id             uuid PRIMARY KEY,
  enterprise     text NOT NULL,
  url            text NOT NULL,
  wanted         jsonb NOT NULL,
  secret         bytea NOT NULL,
  previous       bytea,
  previous_until timestamptz,
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  after_seq      bigint NOT NULL,
  test           uuid,                                -- one that waits to be sent
  attempts       bigint NOT NULL DEFAULT 0,           -- all of them
  failures       integer NOT NULL DEFAULT 0,          -- in a row
  failed_at      timestamptz,                         -- the last of those
  failing_since  timestamptz,                         -- several of them: the clock runs
  slow           boolean NOT NULL DEFAULT false,      -- it failed, or took long
  due_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  turn_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  disabled_at    timestamptz,
  disabled_why   text,                                -- client, operator, answered-410, failing, enterprise-gone
  absent_since   timestamptz,                         -- no active enterprise has the number
  owner          text NOT NULL DEFAULT '',            -- who sends, by a lease
  lease_until    timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
CREATE INDEX webhooks_by_enterprise ON callapi.webhooks (enterprise, created_at, id);

-- Each attempt, without what was sent: the last thousand of a webhook, in turn in the same rows.
CREATE TABLE callapi.webhook_deliveries (
  webhook  uuid NOT NULL REFERENCES callapi.webhooks (id) ON DELETE CASCADE,
  slot     integer NOT NULL,
  attempt  bigint NOT NULL,
  at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  message  text NOT NULL,      -- its webhook-id
  seq      bigint,             -- the event's number
  type     text NOT NULL,
  status   integer,            -- HTTP's, NULL: there was none
  error    text,               -- why not
  took_ms  integer NOT NULL,
  PRIMARY KEY (webhook, slot)
) WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_by_time ON callapi.webhook_deliveries (at);

-- Whether any process sends: its only row is renewed by each that does.
CREATE TABLE callapi.webhook_sender (
  one   boolean PRIMARY KEY DEFAULT true CHECK (one),
  until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- An event may be about a webhook, instead of a call or the PBX.
ALTER TABLE callapi.call_events ADD COLUMN webhook jsonb;

-- Whether an enterprise may have webhooks by /api/webhooks.
ALTER TABLE callapi.enterprise_rules ADD COLUMN webhooks boolean NOT NULL DEFAULT false;
