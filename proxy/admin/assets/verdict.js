// Is it working? One verdict from what `/status` says: a level, a headline, a sentence, and what to do next.
// Pure. Only words of the dictionary, numbers and times get into it; of what the proxy says in English, nothing.

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

/** What to do when calls fail at the API, by the proxy error type (RFC 9209). */
const AFTER_ERROR = {
  dns_error: "dns",
  connection_refused: "network",
  destination_ip_unroutable: "network",
  tls_certificate_error: "tls",
  tls_protocol_error: "network",
  connection_timeout: "firewall",
  http_protocol_error: "in_between",
  "company-proxy-not-found": "company_proxy",
  "company-proxy-unreachable": "company_proxy",
  "company-proxy-not-trusted": "company_proxy_ca",
  "company-proxy-tls": "company_proxy",
  "company-proxy-broke-off": "company_proxy_allow",
  "company-proxy-answer-unreadable": "company_proxy",
  "company-proxy-login": "company_proxy_login",
  "company-proxy-denied": "company_proxy_allow",
  "company-proxy-failed": "company_proxy_reach",
  "company-proxy-timeout": "company_proxy",
};

/** Errors that every next call will meet too, until somebody does something. */
const LASTING = new Set([
  "dns_error",
  "connection_refused",
  "destination_ip_unroutable",
  "tls_certificate_error",
  "tls_protocol_error",
  "connection_timeout",
  "company-proxy-not-found",
  "company-proxy-unreachable",
  "company-proxy-not-trusted",
  "company-proxy-tls",
  "company-proxy-broke-off",
  "company-proxy-answer-unreadable",
  "company-proxy-login",
  "company-proxy-denied",
  "company-proxy-failed",
  "company-proxy-timeout",
]);
/** So many failed calls in a row are no accident. */
const NO_ACCIDENT = 3;
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
function errorWords({ error, status }, say) {
  return say.has(`error.${error}`) ? say.t(`error.${error}`, { status: String(status) }) : say.t("error.other", { error });
}

/** What happened to the last fetch, and what to do: [sentence, step, when it is tried again]. */
function aboutFailure(status, say) {
  const { last_failure: failure, next_attempt_in_seconds: pause } = status.token;
  const cause = causeOf(failure, say);
  const special = `say.refused.${cause}`;
  const refused = isRefused(failure);
  const pattern = refused ? (say.has(special) ? special : "say.refused") : "say.failed";
  const code = failure.code === null ? "" : say.t("code", { code: failure.code });
  const sentence = say.t(pattern, { at: say.at(failure.at, status.now), code, why: say.t(`why.${cause}`) });
  const step = say.t(`do.${refused || !Object.hasOwn(AFTER_REASON, cause) ? cause : AFTER_REASON[cause]}`);
  const due = status.now + pause;
  // "Failed at 10:12, next attempt at 10:12" would say nothing.
  const at = due - failure.at < MINUTE ? say.atSecond(due, status.now) : say.at(due, status.now);
  const watched = failure.refused && status.credentials_watched === true;
  const again = pause > 0 ? say.t(watched ? "next.at.or" : "next.at", { at }) : say.t("next.now");
  return [sentence, step, again];
}

function aboutTrouble(status, say) {
  const trouble = status.upstream_trouble;
  const sentence = say.t("say.trouble", {
    n: trouble.calls,
    at: say.at(trouble.at, status.now),
    since: say.since(trouble.since, status.now),
    why: errorWords(trouble, say),
  });
  const step = say.t(`do.${AFTER_ERROR[trouble.error] ?? "theirs"}`);
  const lasting = LASTING.has(trouble.error) || trouble.calls >= NO_ACCIDENT;
  if (trouble.error === "api_error") return view("warn", lasting ? "api_errors" : "last_failed", [sentence], [step]);
  return view(lasting ? "bad" : "warn", lasting ? "broken" : "last_failed", [sentence], [step, say.t("next.call")]);
}

/** Names the settings that are wrong. What is wrong with them stands, in English, behind the name. */
function aboutConfiguration(problems, say) {
  const settings = problems.map((problem) => /^[a-z_]+(\.[a-z_]+(\[\d+\])?)?(?=: )/.exec(problem)?.[0]).filter(Boolean);
  return settings.length > 0 ? say.t("next.config_refused", { settings: settings.join(", ") }) : say.t("next.config_unreadable");
}

/** Where clients connect, if programs on other machines may and nothing asks who they are; null otherwise. */
function openTo({ "listen.host": hosts, "listen.port": port, ...listen }) {
  const loopback = /^(localhost|127(\.\d+){3}|::1)$/i;
  const asks = listen["listen.client_key"] !== "not set" || listen["listen.clients"] || listen["listen.tls_client_ca_file"];
  const host = [hosts].flat().find((name) => !loopback.test(name));
  return listen["listen.unix_socket"] === null && !asks && host ? `${host.includes(":") ? `[${host}]` : host}:${port}` : null;
}

function view(level, headline, sentences, steps) {
  return { level, headline: `headline.${headline}`, sentence: sentences.join(" "), step: steps.join(" ") };
}

/**
 * Levels: ok; busy (it will be well by itself); warn (still working); bad; off (it does not run, or nobody knows).
 * silent: the proxy does not answer any more; `status` is then the last one, or null.
 */
function verdict(status, say, silent = false, now = status?.now) {
  if (silent) {
    const at = status && say.at(status.now, now);
    if (status?.draining) return view("off", "ended", [say.t("say.ended", { at })], [say.t("next.ended")]);
    return view("bad", "silent", [status ? say.t("say.silent", { at }) : say.t("say.silent.never")], [say.t("next.silent")]);
  }
  if (status === null) return view("busy", "loading", [say.t("say.loading")], []);
  const { token } = status;
  if (status.draining) {
    const n = status.clients.in_flight;
    return view("off", "draining", [n > 0 ? say.t("say.draining", { n }) : say.t("say.drained")], [say.t("next.draining")]);
  }
  const usable = token.state === "fresh" || token.state === "stale";
  if (!usable && token.last_failure === null) {
    return token.generation === 0
      ? view("busy", "starting", [say.t("say.starting")], [])
      : view("busy", "fetching", [say.t("say.fetching")], []);
  }
  if (!usable) {
    const [sentence, ...steps] = aboutFailure(status, say);
    return view("bad", "broken", [sentence], steps);
  }
  if (status.upstream_trouble) return aboutTrouble(status, say);
  if (token.last_failure !== null) {
    const [sentence, ...steps] = aboutFailure(status, say);
    const until = say.since(status.now + token.expires_in_seconds, status.now);
    return view("warn", "no_renewal", [sentence, say.t("say.still", { until })], steps);
  }
  if (token.contended) return view("warn", "contended", [say.t("say.contended")], [say.t("next.contended")]);
  const { refused = [], restart_needed: waiting = [] } = status.configuration;
  if (refused.length > 0) return view("warn", "config_refused", [say.t("say.config_refused")], [aboutConfiguration(refused, say)]);
  const restart = waiting.length > 0 ? [say.t("next.restart", { settings: waiting.join(", ") })] : [];
  const host = openTo(status.settings);
  if (host !== null) return view("warn", "open", [say.t("say.open", { host })], [say.t("next.open"), ...restart]);
  return view("ok", "working", [say.t(token.next_attempt_in_seconds > 0 ? "say.working" : "say.renewing")], restart);
}
