// How the page speaks: one of two languages, and numbers and times as the browser's user writes them.

/** Picks the first language of the browser's list that the page has; English when there is none. */
function chooseLanguage(preferred) {
  for (const locale of preferred) {
    const language = locale.toLowerCase().split("-")[0];
    if (["nb", "no", "nn"].includes(language)) return { language: "nb", locale: "nb-NO" };
    if (language === "en") return { language, locale };
  }
  return { language: "en", locale: "en-GB" };
}

/** Gives the functions that write. Instants are seconds since the epoch, durations are seconds. */
function speaker(words, { language, locale, timeZone }) {
  // What the proxy says in English by itself is said anew, from a dictionary of its own.
  const translates = language !== "en";
  const own = translates ? { ...words[language], ...words.said } : words[language];
  const plural = new Intl.PluralRules(language);
  const count = new Intl.NumberFormat(locale);
  const decimal = new Intl.NumberFormat(locale, { maximumSignificantDigits: 2 });
  const minutes = new Intl.DateTimeFormat(locale, { timeStyle: "short", timeZone });
  const seconds = new Intl.DateTimeFormat(locale, { timeStyle: "medium", timeZone });
  const day = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone });
  const zoned = new Intl.DateTimeFormat(locale, { timeZoneName: "longOffset", timeZone });
  const date = (instant) => new Date(instant * 1000);

  const has = (key) => Object.hasOwn(own, key);

  /** The words of that key, `{name}` replaced by `values.name`; `values.n` chooses between one and many. */
  function t(key, values = {}) {
    const text = typeof own[key] === "object" ? (own[key][plural.select(values.n)] ?? own[key].other) : own[key];
    return text.replace(/\{(\w+)\}/g, (_, name) =>
      typeof values[name] === "number" ? count.format(values[name]) : values[name],
    );
  }

  function moment(kind, instant, now, clock = minutes) {
    const today = day.format(date(instant)) === day.format(date(now));
    const values = { time: clock.format(date(instant)), day: day.format(date(instant)) };
    return t(`${kind}.${today ? "today" : "day"}`, values);
  }

  /** Two units at most: "3 d 4 h", "12 min", "45 s". */
  function duration(length) {
    const whole = Math.max(0, Math.floor(length));
    const parts = [
      ["d", Math.floor(whole / 86400)],
      ["h", Math.floor(whole / 3600) % 24],
      ["min", Math.floor(whole / 60) % 60],
      ["s", whole % 60],
    ];
    const first = parts.findIndex(([, n]) => n > 0);
    const shown = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2).filter(([, n]) => n > 0);
    return shown.map(([unit, n]) => t(`unit.${unit}`, { n })).join(" ");
  }

  return {
    language,
    translates,
    codes: words.codes,
    has,
    t,
    count: (n) => count.format(n),
    /** "Europe/Oslo (GMT+01:00)": the zone of all times that are written here, as it is at that instant. */
    zone(instant) {
      const offset = zoned.formatToParts(date(instant)).find(({ type }) => type === "timeZoneName").value;
      return `${zoned.resolvedOptions().timeZone} (${offset})`;
    },
    minutes: (instant) => minutes.format(date(instant)),
    seconds: (instant) => seconds.format(date(instant)),
    /** "at 10:12", with the day if it is another one than now. */
    at: (instant, now) => moment("at", instant, now),
    atSecond: (instant, now) => moment("at", instant, now, seconds),
    since: (instant, now) => moment("since", instant, now),
    duration,
    /** 1:02:03 or 2:03, as on a stopwatch. */
    countdown(length) {
      const whole = Math.max(0, Math.floor(length));
      const two = (n) => String(n).padStart(2, "0");
      const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
      return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
    },
    /** "42 ms", "1.2 s"; a dash for nothing. */
    latency(length) {
      if (length === null || length === undefined) return "–";
      if (length < 0.9995) {
        return t("unit.ms", { n: decimal.format(length < 0.01 ? length * 1000 : Math.round(length * 1000)) });
      }
      return t("unit.s", { n: decimal.format(length) });
    },
    /** Begins a sentence with a clause. */
    sentence: (clause) => clause.charAt(0).toLocaleUpperCase(locale) + clause.slice(1),
  };
}
