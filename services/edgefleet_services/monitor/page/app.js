// The live page. It shows what the monitor says and computes nothing but how to print it; an absent value is a dash.
"use strict";

const NONE = "—";
const MAX_POINTS = 3600;
const byId = (id) => document.getElementById(id);
const points = new Map(); // account -> [[market ms, equity], ...]
let lastEvent = 0;
let curveAsked = false;

function text(value) {
  return value === null || value === undefined || value === "" ? NONE : String(value);
}

// Decimals arrive as exact text: they are cut for the eye, and stay whole in the title.
function money(value, digits = 2) {
  if (value === null || value === undefined) return NONE;
  const rounded = Number(Number(value).toFixed(digits)) + 0; // + 0 turns -0 into 0
  return rounded.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function number(value, digits = 2) {
  return value === null || value === undefined ? NONE : Number(value).toFixed(digits);
}

// A small number must not be shown as zero.
function significant(value) {
  if (value === null || value === undefined) return NONE;
  return Number(Number(value).toPrecision(4)).toString();
}

// A share of a percent that is too small to matter is told as such, not in seven digits.
function percent(value) {
  if (value === null || value === undefined) return NONE;
  return value !== 0 && Math.abs(value) < 0.001 ? "< 0.001" : Number(value).toFixed(3);
}

// A phone has no room for milliseconds and for the venue, which the page's head names where it is one.
const narrow = matchMedia("(max-width: 40rem)");
let several = false;

function clock(iso) {
  return iso ? iso.slice(11, narrow.matches ? 19 : 23) : NONE;
}

function named(instrument) {
  return narrow.matches && !several ? instrument.split("@")[0] : instrument;
}

function duration(ms) {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.round(ms / 60000)} min`;
}

function put(id, shown, exact, kind) {
  const node = byId(id);
  if (node.textContent !== shown) node.textContent = shown;
  if (exact === null || exact === undefined) node.removeAttribute("title");
  else node.title = String(exact);
  node.dataset.kind = kind || "none";
}

function signKind(value) {
  if (value === null || value === undefined || Math.abs(Number(value)) < 0.005) return "none";
  return Number(value) > 0 ? "good" : "bad";
}

// A cell is text, or [text, kind], or [text, kind, exact value].
function rows(id, lines) {
  const table = byId(id);
  const heads = table.tHead.rows[0].cells;
  const body = document.createElement("tbody");
  for (const line of lines) {
    const row = body.insertRow();
    for (const [place, cell] of line.entries()) {
      const [shown, kind, exact] = Array.isArray(cell) ? cell : [cell];
      const td = row.insertCell();
      td.className = heads[place].className;
      td.textContent = shown;
      if (kind) td.dataset.kind = kind;
      if (exact !== undefined && exact !== null) td.title = String(exact);
    }
  }
  table.tBodies[0].replaceWith(body);
  table.hidden = lines.length === 0;
  table.parentElement.querySelector(".empty").hidden = lines.length !== 0;
}

function showState(fleet) {
  const latch = fleet.trading_state;
  const kind = { ACTIVE: "good", REDUCING: "warn", HALTED: "bad" };
  put("state", latch ? latch.state : NONE, null, latch ? kind[latch.state] : "none");
  byId("state-reason").textContent = latch
    ? `${latch.reason || "no reason given"} · by ${latch.by || "unknown"}${latch.since ? " · since " + clock(latch.since) : ""}`
    : "No trading state yet";
  byId("session").textContent = fleet.session
    ? `${fleet.session.mode} on ${fleet.session.venue} · ${fleet.session.symbols.join(", ")} · session ${fleet.session.session}`
    : "No session yet";
}

function showMoney(fleet) {
  const account = fleet.together || {};
  const quote = account.quote ? ` ${account.quote}` : "";
  put("equity", account.equity == null ? NONE : money(account.equity) + quote, account.equity);
  put("realised", money(account.realised_after_fees), account.realised_after_fees, signKind(account.realised_after_fees));
  put("unrealised", money(account.unrealised), account.unrealised, signKind(account.unrealised));
  const fees = Object.entries(account.fees || {}).map(([asset, amount]) => `${amount} ${asset}`).join(", ");
  put("fees", account.fees_in_quote == null ? NONE : money(account.fees_in_quote) + quote, fees || account.fees_in_quote);
  put("drawdown", account.drawdown_pct == null ? NONE : `${number(account.drawdown_pct)} %`, account.drawdown);
  const difference = account.ledger_minus_venue;
  byId("money-note").dataset.kind = account.why ? "bad" : "none";
  byId("money-note").textContent = account.why || (fleet.accounts.length > 1 ? accountsTold(account, fleet) : "");
  put("difference", text(difference), null, difference == null ? "none" : Number(difference) === 0 ? "good" : "bad");
  if (fleet.accounts.length && !curveAsked) {
    curveAsked = true;
    loadCurve().catch(() => { curveAsked = false; });
  }
  for (const one of fleet.accounts) addPoint(`${one.account}@${one.venue}`, one);
  if (fleet.accounts.length > 1 && fleet.together) addPoint("all", fleet.together);
  const only = fleet.accounts[0];
  draw(fleet.accounts.length > 1 ? "all" : only ? `${only.account}@${only.venue}` : "", fleet.accounts.length > 1);
}

function accountsTold(account, fleet) {
  const each = fleet.accounts.map((one) => `${one.account}@${one.venue} ${one.equity == null ? NONE : money(one.equity)} ${one.quote}`);
  const rates = Object.entries(account.rates || {}).filter(([asset]) => asset !== account.quote);
  return [...each, ...rates.map(([asset, rate]) => `1 ${asset} = ${Number(rate).toPrecision(6)} ${account.quote}`)].join(" · ");
}

function addPoint(name, account) {
  if (account.equity == null) return;
  const series = points.get(name) || [];
  if (!account.time) return;
  const at = Date.parse(account.time);
  const last = series[series.length - 1];
  if (last && last[0] > at) series.length = 0; // another session began
  if (!last || at - last[0] >= 1000) series.push([at, Number(account.equity)]);
  if (series.length > MAX_POINTS) series.shift();
  points.set(name, series);
}

function draw(name, known) {
  const series = points.get(name) || [];
  const chart = byId("chart");
  const note = byId("chart-note");
  chart.toggleAttribute("hidden", series.length < 2);
  if (series.length < 2) {
    note.textContent = series.length
      ? "The curve begins with the second second of market time."
      : known ? "No curve: what the accounts come to is not known." : "No equity yet: it appears with the first account and the first price.";
    return;
  }
  const values = series.map((point) => point[1]);
  const low = Math.min(...values), high = Math.max(...values);
  const from = series[0][0], span = series[series.length - 1][0] - from || 1;
  const y = (value) => (high === low ? 70 : 132 - ((value - low) / (high - low)) * 124);
  const path = series.map(([at, value], i) => `${i ? "L" : "M"}${(((at - from) / span) * 600).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  chart.innerHTML = `<line x1="0" x2="600" y1="${y(values[0])}" y2="${y(values[0])}"></line><path d="${path}"></path>`;
  note.textContent = `${money(low)} to ${money(high)} over ${duration(span)} of market time`;
}

function showTables(fleet) {
  const quotes = new Set(fleet.accounts.map((account) => account.quote));
  const unit = (account) => (quotes.size > 1 ? ` ${account.quote}` : "");
  rows("market", fleet.market.map((m) => [
    named(m.instrument), text(m.bid), text(m.ask),
    [duration(m.age_ms), m.age_ms == null ? "none" : m.age_ms < 2000 ? "good" : m.age_ms < 10000 ? "warn" : "bad"],
  ]));
  rows("positions", fleet.accounts.flatMap((account) => [
    ...account.positions.map((p) => [
      named(p.instrument), [text(p.quantity), "", p.quantity], [p.average_price == null ? NONE : money(p.average_price), "", p.average_price],
      [money(p.value) + unit(account), "", p.value], [money(p.unrealised), signKind(p.unrealised), p.unrealised],
    ]),
    ...Object.entries(account.cash).map(([asset, amount]) => [asset, [money(amount, 2), "", amount], NONE, asset === account.quote ? money(amount) + unit(account) : NONE, NONE]),
  ]));
  rows("venues", fleet.markets.flatMap((m) => m.venues.map((v) => [
    named(`${m.symbol}@${v.venue}`), v.spread_pct == null ? NONE : number(v.spread_pct * 100), v.imbalance == null ? NONE : number(v.imbalance),
    [v.vwap_1m == null ? NONE : money(v.vwap_1m), "", v.vwap_1m], v.out ? [v.out, "warn"] : ["yes", "none"],
  ])));
  byId("arbitrage").textContent = fleet.markets.flatMap((m) => m.arbitrage.map((a) =>
    `${m.symbol}: buy at ${a.buy_at}, sell at ${a.sell_at}: ${number(a.net_bps)} bps after fees on ${a.size}`)).join(" · ");
  const chosen = (name) => fleet.models.filter((m) => m.instrument === name).flatMap((m) => m.chosen.map((c) => c.model));
  const names = [...new Set([...fleet.risk.map((r) => r.instrument), ...fleet.models.map((m) => m.instrument)])];
  rows("risk", names.map((name) => {
    const r = fleet.risk.find((one) => one.instrument === name) || {};
    return [named(name), number(r.edge_bps), text(r.target), [percent(r.var_pct), "", r.var_pct], text(r.binding), chosen(name).join(", ") || NONE];
  }));
  showBreakers(fleet.breakers);
  showStress(fleet.stress);
  const orderKind = { FILLED: "good", REJECTED: "bad", DENIED: "bad", UNKNOWN: "bad" };
  rows("orders", fleet.orders.map((o) => [
    clock(o.time), named(o.instrument), [`${o.side} ${o.quantity} ${o.kind}${o.price ? " @ " + o.price : ""}`, "", o.order_id], o.filled,
    [o.state, orderKind[o.state] || "none", o.reason],
  ]));
  rows("fills", fleet.fills.map((f) => [
    clock(f.time), named(f.instrument), [f.side, f.side === "buy" ? "good" : "bad"], f.quantity, f.price, `${f.fee} ${f.fee_asset}`,
  ]));
  rows("refusals", fleet.refusals.map((r) => [
    clock(r.time), named(r.instrument), [r.reason, "warn", r.detail || r.input], significant(r.observed), significant(r.limit), r.by,
  ]));
  const refused = Object.entries(fleet.refused);
  byId("refused").textContent = refused.map(([reason, count]) => `${reason} ${count}`).join(" · ");
  rows("services", fleet.services.map((s) => {
    const behind = Object.values(s.lag).length ? Math.max(...Object.values(s.lag)) : null;
    return [
      s.service, s.instances === null ? "not known" : [s.instances > 0 ? "yes" : "no", s.instances > 0 ? "good" : "bad"],
      [behind === null ? NONE : String(behind), behind > 1000 ? "bad" : "none", JSON.stringify(s.lag)],
      duration(s.last_commit_ms), [text(s.dead_letters), s.dead_letters > 0 ? "bad" : "none"],
    ];
  }));
  const alerts = byId("alerts");
  alerts.replaceChildren(...fleet.alerts.map((a) => {
    const item = document.createElement("li");
    item.textContent = `${clock(a.time)} ${a.severity || ""} ${a.service}: ${a.text || a.kind}`;
    return item;
  }));
  alerts.parentElement.querySelector(".empty").hidden = fleet.alerts.length !== 0;
}

// The state is a word first; the colour only repeats it.
function showBreakers(breakers) {
  const word = { OPEN: "open", HALF_OPEN: "half-open", CLOSED: "closed", DISABLED: "switched off" };
  const kind = { OPEN: "bad", HALF_OPEN: "warn", CLOSED: "good", DISABLED: "warn" };
  rows("breakers", breakers.map((b) => [
    [b.scope ? `${b.breaker} of ${b.scope}` : b.breaker, "", b.unit],
    [text(word[b.state]), kind[b.state], b.reason],
    [b.observed == null ? "not known" : significant(b.observed), "", b.unit], [significant(b.limit), "", b.unit], b.action, [clock(b.since), "", b.since],
  ]));
}

// A scenario that covers nothing has no loss: it is a dash, and the note says of what.
function showStress(accounts) {
  const many = accounts.length > 1;
  rows("stress", accounts.flatMap((account) => account.scenarios.map((s) => {
    const unknown = s.loss_fraction === null;
    const missed = s.not_covered.length ? `not covered: ${s.not_covered.join(", ")}` : null;
    return [
      [many ? `${s.scenario} (${account.account})` : s.scenario, "", missed],
      [unknown ? NONE : number(s.loss_fraction * 100), s.breaks.length ? "bad" : "none", s.loss_fraction],
      [money(s.equity_after), "", s.equity_after],
      unknown ? NONE : s.breaks.map((one) => named(one)).join(", ") || "nothing",
    ];
  })));
  const missed = new Set(accounts.flatMap((account) => account.scenarios.flatMap((s) => s.not_covered.map(named))));
  const notes = accounts.filter((account) => account.why).map((account) => `${account.account}: ${account.why}`);
  if (missed.size) notes.push(`Not covered by some scenarios, and in no loss there: ${[...missed].join(", ")}`);
  byId("stress-note").textContent = notes.join(" · ");
}

function showLink() {
  const silent = Date.now() - lastEvent;
  const link = byId("link");
  const live = lastEvent > 0 && silent < 3000;
  document.body.dataset.live = live ? "yes" : "no";
  if (!live) {
    link.textContent = lastEvent ? `no news for ${duration(silent)}: what you see is old` : "connecting";
    link.dataset.kind = "off";
  }
}

function show(fleet) {
  lastEvent = Date.now();
  document.body.dataset.live = "yes";
  several = fleet.accounts.length > 1;
  document.body.dataset.venues = several ? "several" : "one";
  const link = byId("link");
  link.textContent = fleet.redis ? `live · ${clock(fleet.time).slice(0, 8)} UTC` : "Redis does not answer";
  link.dataset.kind = fleet.redis ? "good" : "bad";
  showState(fleet);
  showMoney(fleet);
  showTables(fleet);
}

// What the curve was before this page was opened; what came since stays behind it.
async function loadCurve() {
  const answer = await fetch("/api/v1/equity");
  if (!answer.ok) return;
  for (const [account, series] of Object.entries(await answer.json())) {
    const since = points.get(account) || [];
    const before = series.map(([at, value]) => [at, Number(value)]).filter(([at]) => !since.length || at < since[0][0]);
    points.set(account, [...before, ...since].slice(-MAX_POINTS));
  }
}

async function latch(event) {
  event.preventDefault();
  const form = event.target;
  const action = event.submitter ? event.submitter.value : "halt";
  const wish = { action, reason: form.reason.value };
  if (form.by.value) wish.by = form.by.value;
  const answer = await fetch("/api/v1/trading-state", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wish),
  });
  const body = await answer.json();
  const told = typeof body.detail === "string" ? body.detail : "the wish could not be read";
  byId("latch-answer").textContent = answer.ok ? `now ${body.state}: ${body.reason}` : `refused: ${told}`;
}

function start() {
  byId("latch").addEventListener("submit", latch);
  setInterval(showLink, 500);
  // EventSource comes back by itself after a cut.
  new EventSource("/api/v1/stream").addEventListener("fleet", (event) => show(JSON.parse(event.data)));
}

start();
