-- A supervisor who was let in and heard nobody: one reason more.
ALTER TABLE callapi.calls DROP CONSTRAINT IF EXISTS calls_reason_check;
ALTER TABLE callapi.calls ADD CONSTRAINT calls_reason_check CHECK (reason IN (
  'answered', 'busy', 'no_answer', 'agent_busy', 'agent_no_answer', 'cancelled', 'rejected',
  'failed', 'nothing_heard', 'unknown'));
