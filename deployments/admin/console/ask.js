// Asking the admin port: one question at a time, less often while it does not answer, not at all while nobody looks.

const LONGEST_ANSWER_MS = 8000;
const LONGEST_PAUSE_MS = 30000;

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

export async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(LONGEST_ANSWER_MS), cache: "no-store" });
  if (answer.ok) return answer.json();
  const { error } = await answer.json().catch(() => ({ error: { message: `status ${answer.status}` } }));
  throw new Refused(answer.status, error.code, error.message);
}

// `path()` is asked every `periodMs`; `soon()` of what this returns asks at once.
export function keepAsking(path, periodMs, onAnswer, onFailure) {
  let timer = 0;
  let pauseMs = periodMs;
  let turn = 0;

  async function look() {
    clearTimeout(timer);
    const mine = ++turn;
    const asked = path();
    if (document.hidden || asked === null) return;
    try {
      const answer = await ask(asked);
      if (mine !== turn) return;
      pauseMs = periodMs;
      onAnswer(answer);
    } catch (error) {
      if (mine !== turn) return;
      pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs);
      onFailure(error, pauseMs);
    }
    if (mine === turn) timer = setTimeout(look, pauseMs);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  look();
  return { soon: look };
}
