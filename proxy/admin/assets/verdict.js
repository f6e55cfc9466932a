// Is it working? The proxy judges, in the `headline` of `/status`; this writes it down for the reader: a level, a title, a sentence,
// what to do next, and since when. In English these are the proxy's own words; in Norwegian they are written anew, by the headline's names.
// Only when there is no answer does the page judge by itself.
// Pure. Only words, numbers and times get into it.

const LEVELS = { working: "ok", impaired: "warn", not_working: "bad" };
/** Causes that are over by themselves, or are the end. */
const OTHER_LEVELS = { starting: "busy", fetching: "busy", draining: "off" };

/** What to do when no token could be had, by the reason's word; for refused credentials the cause's own words say it. */
const AFTER_REASON = {
  timeout: "network",
  tls: "tls",
  dns: "dns",
  connect: "network",
  malformed: "in_between",
  reset: "network",
  company_proxy_timeout: "company_proxy",
  company_proxy_dns: "company_proxy",
  company_proxy_connect: "company_proxy",
  company_proxy_tls: "company_proxy_ca",
  company_proxy_reset: "company_proxy_allow",
  company_proxy_malformed: "company_proxy",
  company_proxy_failed: "company_proxy_reach",
  company_proxy_login: "company_proxy_login",
  company_proxy_denied: "company_proxy_allow",
  unreadable: "in_between",
  illegal_token: "theirs",
  wrong_token_type: "theirs",
  no_token: "theirs",
  redirected: "path",
  proxy_answered: "loop",
  expired_on_arrival: "theirs",
  unexpected: "report",
  unexpected_answer: "in_between",
};

const MINUTE = 60; // seconds

/** Whether Telenor refused the credentials; what the company's proxy refuses never reached Telenor. */
function isRefused({ refused, reason }) {
  return refused && !reason.startsWith("company_proxy_");
}

/** The key of the words for a failed fetch of a token. */
function causeOf(failure, say) {
  const { reason, code } = failure;
  if (isRefused(failure)) return Object.hasOwn(say.codes, code ?? "") ? say.codes[code] : "unnamed";
  if (reason === "rate_limited") return "too_many";
  if (reason === "http_404" || reason === "http_405") return "path";
  if (/^http_5\d\d$/.test(reason)) return "theirs";
  return Object.hasOwn(AFTER_REASON, reason) ? reason : "unexpected_answer";
}

/** The clause for what became of a request. */
function errorWords({ error }, say) {
  return say.has(`error.${error}`) ? say.t(`error.${error}`) : say.t("error.other", { error });
}

/** The host that a call failed to reach or to understand: the API's, or the company's proxy's; null for other failures. */
function hostOf({ error, refused }, settings) {
  const known = /^(company-proxy-|dns_error|connection_|destination_ip_|tls_|http_protocol|http_response)/;
  const kind = known.exec(refused ? "" : error)?.[0];
  const url = settings[kind === "company-proxy-" ? "upstream.proxy_url" : "upstream.url"];
  return kind === undefined ? null : (/^\w+:\/\/([^/]+)/.exec(url)?.[1] ?? null);
}

/** A failed fetch of a token in the reader's language: [sentences, step]. */
function aboutToken(status, say) {
  const { last_failure: failure, expires_in_seconds: left } = status.token;
  const cause = causeOf(failure, say);
  const special = `say.refused.${cause}`;
  const refused = isRefused(failure);
  const pattern = refused ? (say.has(special) ? special : "say.refused") : "say.failed";
  const code = failure.code === null ? "" : say.t("code", { code: failure.code });
  const sentence = say.t(pattern, { at: say.at(failure.at, status.now), code, why: say.t(`why.${cause}`) });
  const step = say.t(`do.${refused || !Object.hasOwn(AFTER_REASON, cause) ? cause : AFTER_REASON[cause]}`);
  if (status.headline.cause !== "renewal_failed") return [sentence, step];
  return [`${sentence} ${say.t("say.still", { until: say.since(status.now + left, status.now) })}`, step];
}

/** What the calls get in the reader's language: [sentence, step]. */
function aboutCalls({ headline, settings }, say) {
  const { cause, status, code, error, why, todo } = headline;
  const key = code === "other" ? "answer.other" : "answer.code";
  const answer = code === null ? String(status) : say.t(key, { status: String(status), code });
  const rate = settings["pacing.requests_per_second"];
  const pace = rate === null ? say.t("settings.not_set") : say.count(rate);
  const clause = error === null ? say.t(`meaning.${why}`) : errorWords({ error }, say);
  return [say.t(`what.${cause}`, { answer, status: String(status), why: clause }), say.t(`step.${todo}`, { pace })];
}

/** The headline in the reader's language: [title, what, step]. What this page has no words for stays English. */
function written(status, say) {
  const { headline } = status;
  const { cause, state } = headline;
  if (!say.translates) return [headline.title, headline.what, headline.step];
  const title = say.t(say.has(`title.${cause}`) ? `title.${cause}` : `title.${state}`);
  if (cause === "token_failed" || cause === "renewal_failed") return [title, ...aboutToken(status, say)];
  if (!say.has(`what.${cause}`)) return [headline.title, headline.what, headline.step];
  if (headline.status !== null) return [title, ...aboutCalls(status, say)];
  return [title, say.t(`what.${cause}`, { reason: status.log?.reason }), say.has(`step.${cause}`) ? say.t(`step.${cause}`) : ""];
}

/** When the next fetch of a token is due, after one that failed; "" otherwise. */
function nextAttempt(status, say) {
  const { last_failure: failure, next_attempt_in_seconds: pause } = status.token;
  if (!["token_failed", "renewal_failed"].includes(status.headline.cause)) return "";
  if (pause <= 0) return say.t("next.now");
  const due = status.now + pause;
  // "Failed at 10:12, next attempt at 10:12" would say nothing.
  const at = due - failure.at < MINUTE ? say.atSecond(due, status.now) : say.at(due, status.now);
  return say.t(failure.refused && status.credentials_watched === true ? "next.at.or" : "next.at", { at });
}

/** Since when it is so, and for how many calls. It stands apart from the sentence: it changes with each call. */
function facts(status, say) {
  const { since, failed, calls, caller } = status?.headline ?? { since: null, failed: 0, calls: 0, caller: null };
  const sentences = [
    since !== null && say.t("fact.since", { since: say.since(since, status.now) }),
    calls > 0 && say.t("fact.calls", { n: calls, failed }),
    calls === 0 && failed > 0 && say.t("fact.turned_away", { n: failed }),
    caller !== null && say.t("fact.caller", { caller }),
  ];
  return sentences.filter(Boolean).join(" ");
}

/** Names the settings that are wrong. What is wrong with them stands, in English, behind the name. */
function aboutConfiguration(problems, say) {
  const settings = problems.map((problem) => /^[a-z_]+(\.[a-z_]+(\[\d+\])?)?(?=: )/.exec(problem)?.[0]).filter(Boolean);
  return settings.length > 0 ? say.t("note.config_refused", { settings: settings.join(", ") }) : say.t("note.config_unreadable");
}

/** Where clients connect, if programs on other machines may and nothing asks who they are; null otherwise. */
function openTo({ "listen.unix_socket": socket, "listen.client_key": key, "listen.host": hosts, "listen.port": port, ...others }) {
  const loopback = /^(localhost|127(\.\d+){3}|::1)$/i;
  const asks = key !== "not set" || ["listen.clients", "listen.tls_client_ca_file"].some((name) => others[name]?.length > 0);
  const host = [hosts].flat().find((each) => !loopback.test(each));
  return socket !== null || asks || host === undefined ? null : `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** "ends in 10 d 3 h" or "has ended". */
const ending = (end, now, say) => (end > now ? say.t("ends.in", { left: say.duration(end - now) }) : say.t("ends.ended"));

/** The certificates that end within three days or have ended (`urgent`), or else within fourteen days: sentences. */
function endings({ certificates = [], now }, say, urgent) {
  const wanted = urgent ? ["urgent", "ended"] : ["soon"];
  return certificates
    .filter(({ standing }) => wanted.includes(standing))
    .map(({ what, not_after: end }) => say.t(`ends.${what}`, { ends: ending(end, now, say) }));
}

/** What else somebody should know, whether calls go through or not: sentences. */
function notes(status, say) {
  const { refused = [], restart_needed: waiting = [] } = status.configuration;
  const { lost = 0, reason = null } = status.log ?? {};
  const { detail = null, descriptors, clients, upstream } = status.limits ?? {};
  const host = openTo(status.settings);
  return [
    lost > 0 && say.t(reason === null ? "note.log" : "note.log_now", { n: lost, reason }),
    detail !== null && say.t("note.limits", { descriptors, clients, upstream }),
    refused.length > 0 && aboutConfiguration(refused, say),
    host !== null && say.t("note.open", { host }),
    waiting.length > 0 && say.t("note.restart", { settings: waiting.join(", ") }),
    ...endings(status, say, false),
  ].filter(Boolean);
}

function view(level, title, sentences, steps) {
  const join = (parts) => parts.filter(Boolean).join(" ");
  return { level, title, sentence: join(sentences), step: join(steps) };
}

/**
 * Levels: ok; busy (it will be well by itself); warn (working in part); bad; off (it does not run, or its state is unknown).
 * silent: the proxy does not answer any more; `status` is then the last one, or null.
 */
function verdict(status, say, silent = false, now = status?.now) {
  if (silent) {
    const at = status && say.at(status.now, now);
    if (status?.draining) return view("off", say.t("headline.ended"), [say.t("say.ended", { at })], [say.t("next.ended")]);
    const last = status ? say.t("say.silent", { at }) : say.t("say.silent.never");
    return view("bad", say.t("headline.silent"), [last], [say.t("next.silent")]);
  }
  if (status === null) return view("busy", say.t("headline.loading"), [say.t("say.loading")], []);
  const { cause, state } = status.headline;
  const [title, what, step] = written(status, say);
  return view(OTHER_LEVELS[cause] ?? LEVELS[state], title, [what], [step, nextAttempt(status, say)]);
}
