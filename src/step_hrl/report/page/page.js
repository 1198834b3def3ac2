"use strict";
(async () => {
  const index = JSON.parse(document.getElementById("index").textContent);
  const column = Object.fromEntries(index.columns.map((name, position) => [name, position]));
  const pieces = document.querySelectorAll("script.piece");
  const unpacked = new Map();
  const ROWS_AT_ONCE = 200;
  const at = (id) => document.getElementById(id);
  const filter = at("filter");
  let shown = [];       // indices of the rows that pass the filter, in the order of the list
  let drawn = 0;        // how many of them are in the list
  let open = null;      // the open episode: {position, content, steps}
  let step = 0;

  /* Texts of environments and models are untrusted: they only become text nodes. */
  function element(tag, text, attributes = {}) {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  async function unpack(piece) {
    if (!unpacked.has(piece)) {
      const bytes = Uint8Array.from(atob(pieces[piece].textContent.trim()), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      unpacked.set(piece, JSON.parse(await new Response(stream).text()));
      if (unpacked.size > 20) unpacked.delete(unpacked.keys().next().value);
    }
    return unpacked.get(piece);
  }

  /* The list. */

  const titled = (row) => `${row[column.task]}:${row[column.variation]}`;

  function offer(name, values) {
    for (const [value, label] of values) filter.elements[name].append(element("option", label, { value }));
  }

  function narrow() {
    const wanted = Object.fromEntries(new FormData(filter));
    shown = [];
    index.rows.forEach((row, position) => {
      const fits = (wanted.source === "" || row[column.source] === Number(wanted.source))
        && (wanted.task === "" || row[column.task] === wanted.task)
        && (wanted.ending === "" || row[column.ending] === wanted.ending);
      if (fits) shown.push(position);
    });
    if (wanted.order) {
      const key = column[wanted.order];
      shown.sort((one, other) => index.rows[other][key] - index.rows[one][key] || one - other);
    }
    drawn = 0;
    at("list").tBodies[0].replaceChildren();
    at("count").textContent = `${shown.length} of ${index.rows.length} episodes`;
    drawMore();
  }

  function drawMore() {
    const body = at("list").tBodies[0];
    for (const position of shown.slice(drawn, drawn + ROWS_AT_ONCE)) {
      const row = index.rows[position];
      const line = element("tr");
      const link = element("button", titled(row), { type: "button", "data-episode": position });
      const first = element("td");
      first.append(link);
      line.append(
        first,
        element("td", index.sources[row[column.source]]),
        element("td", (100 * row[column.score]).toFixed(0)),
        element("td", row[column.ending], { class: `ending-${row[column.ending]}` }),
        element("td", row[column.actions]),
        element("td", row[column.invalid]),
        element("td", row[column.tokens]),
      );
      body.append(line);
    }
    drawn = Math.min(shown.length, drawn + ROWS_AT_ONCE);
    at("more").hidden = drawn >= shown.length;
  }

  /* One episode. */

  async function show(position, wantedStep = 0) {
    const content = (await unpack(Math.floor(position / index.episodes_a_piece)))[position % index.episodes_a_piece];
    const steps = [];
    content.segments.forEach((segment, number) => {
      segment.first = steps.length;
      segment.steps.forEach((each) => steps.push({ ...each, segment: number }));
    });
    open = { position, content, steps };
    const row = index.rows[position];
    at("viewer").hidden = false;
    at("viewer-title").textContent = titled(row);
    at("instruction").textContent = content.instruction;
    at("about").textContent = `${index.sources[row[column.source]]}, score ${(100 * content.score).toFixed(0)}, `
      + `ending: ${content.ending}, ${steps.length} actions${content.error ? `. Error: ${content.error}` : ""}`;
    const facts = Object.entries(content.provenance).flatMap(([name, value]) => [element("dt", name), element("dd", value)]);
    at("provenance").replaceChildren(...facts);
    drawSpine();
    go(Math.max(0, Math.min(wantedStep, steps.length - 1)));
    at("viewer").scrollIntoView();
    at("viewer").focus({ preventScroll: true });
  }

  function drawSpine() {
    const { content } = open;
    const parts = content.segments.map((segment, number) => {
      const part = document.createDocumentFragment();
      const named = segment.unreadable ?? content.texts[segment.subtask];
      const notes = [segment.unreadable !== undefined && "unreadable", segment.noise && "noise"];
      part.append(element("p", [`${number + 1}. ${named}`, ...notes.filter(Boolean)].join(" · ")));
      const list = element("ol");
      segment.steps.forEach((each, within) => {
        const label = each.unreadable ?? content.texts[each.action];
        const kind = each.invalid ? "invalid" : "";
        const button = element("button", `${segment.first + within + 1}. ${label}`, { type: "button", class: kind });
        button.dataset.step = segment.first + within;
        const item = element("li");
        item.append(button);
        list.append(item);
      });
      part.append(list);
      return part;
    });
    at("spine").replaceChildren(...parts);
  }

  function go(number) {
    step = number;
    const { content, steps, position } = open;
    for (const button of at("spine").querySelectorAll("button")) {
      const current = Number(button.dataset.step) === step;
      if (current) button.setAttribute("aria-current", "step"); else button.removeAttribute("aria-current");
      if (current) button.scrollIntoView({ block: "nearest" });
    }
    at("step").replaceChildren(...(steps.length ? describe(steps[step]) : [element("p", "No steps.")]));
    const link = `#episode=${encodeURIComponent(index.rows[position][column.id])}`
      + `&source=${index.rows[position][column.source]}&step=${step + 1}`;
    history.replaceState(null, "", link);
  }

  function describe(now) {
    const { content } = open;
    const text = (position) => (position === undefined || position === null ? null : content.texts[position]);
    const segment = content.segments[now.segment];
    const parts = [element("h3", `Step ${step + 1} of ${open.steps.length}, subtask ${now.segment + 1}`)];
    const section = (label, ...nodes) => parts.push(element("h4", label), ...nodes);
    section("Subtask", element("p", text(segment.subtask)));
    section("Observation", ...observation(now.observation, text));
    section("Local progress", element("p", text(now.progress)));
    section("Action", element("p", now.unreadable ?? text(now.action), { class: "action" }), flags(now));
    section("Next observation", ...observation(now.next_observation, text, now.observation));
    if (now.next_progress !== undefined) section("Next local progress", difference(text(now.progress), text(now.next_progress)));
    if (now.progress_unreadable !== undefined) section("Unreadable progress reply", element("p", now.progress_unreadable));
    const decisions = [["High level", now === open.steps[segment.first] || step === segment.first ? segment.high : null],
      ["Low level", now.low], ["Local progress", now.progress_update]];
    for (const [label, decision] of decisions) if (decision) parts.push(prompt(label, decision, text));
    return parts;
  }

  function observation(positions, text, before) {
    const labels = ["", "Look: ", "Inventory: "];
    return positions.flatMap((position, number) => {
      const content = text(position);
      if (content === null || content === "") return [];
      const same = before && number > 0 && before[number] === position;
      return [element("p", labels[number] + (same ? "unchanged" : content))];
    });
  }

  function flags(now) {
    const line = element("p");
    const flag = (label, kind = "") => line.append(element("span", label, { class: `flag ${kind}` }));
    if (now.subtask_done) flag("subtask done", now.invalid ? "" : "good");
    if (now.unreadable !== undefined) flag("unreadable", "bad"); else if (now.invalid) flag("invalid action", "bad");
    if (now.noise) flag("noise");
    if (now.reward) flag(`reward ${now.reward}`, now.reward > 0 ? "good" : "bad");
    if (now.dropped) flag(`${now.dropped} oldest steps dropped`);
    return line;
  }

  /* Word difference by longest common subsequence. */
  function difference(before, after) {
    const one = before.split(/(\s+)/), other = after.split(/(\s+)/);
    const line = element("p");
    if (one.length * other.length > 250000) {
      line.append(after);
      return line;
    }
    const common = Array.from({ length: one.length + 1 }, () => new Uint16Array(other.length + 1));
    for (let i = one.length - 1; i >= 0; i--) {
      for (let j = other.length - 1; j >= 0; j--) {
        common[i][j] = one[i] === other[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
      }
    }
    let i = 0, j = 0;
    while (i < one.length || j < other.length) {
      if (i < one.length && j < other.length && one[i] === other[j]) {
        line.append(one[i]);
        i++; j++;
      } else if (j < other.length && (i === one.length || common[i][j + 1] >= common[i + 1][j])) {
        line.append(element("ins", other[j++]));
      } else {
        line.append(element("del", one[i++]));
      }
    }
    return line;
  }

  function prompt(label, decision, text) {
    const tokens = decision.tokens ? ` (${decision.tokens[0]} prompt tokens, ${decision.tokens[1]} of them cached, `
      + `${decision.tokens[2]} completion tokens)` : "";
    const details = element("details");
    const [value, q, advantage] = decision.values ?? [];
    const estimates = decision.values ? `, V ${value}, Q ${q}, advantage ${advantage}` : "";
    details.append(element("summary", `${label}: prompt and reply${tokens}${estimates}`));
    details.append(element("pre", decision.prompt.map(text).join("\n")), element("pre", text(decision.reply)));
    return details;
  }

  /* Navigation. */

  function close() {
    at("viewer").hidden = true;
    const back = open;
    open = null;
    history.replaceState(null, "", "#episodes");
    const button = back && document.querySelector(`[data-episode="${back.position}"]`);
    (button || at("episodes")).focus?.();
    at("episodes").scrollIntoView();
  }

  function neighbor(by) {
    const here = shown.indexOf(open.position) + by;
    if (here >= 0 && here < shown.length) show(shown[here]);
  }

  function subtask(by) {
    const { content, steps } = open;
    const target = content.segments[steps[step].segment + by];
    if (target && target.steps.length) go(target.first);
  }

  const keys = {
    ArrowRight: () => go(Math.min(step + 1, open.steps.length - 1)),
    ArrowLeft: () => go(Math.max(step - 1, 0)),
    ArrowDown: () => subtask(1),
    ArrowUp: () => subtask(-1),
    n: () => neighbor(1),
    p: () => neighbor(-1),
    Escape: close,
  };
  keys.j = keys.ArrowRight;
  keys.k = keys.ArrowLeft;

  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (!open || typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    if (open.steps.length || /^(n|p|Escape)$/.test(event.key)) keys[event.key]();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.episode) show(Number(button.dataset.episode));
    if (button.dataset.step) go(Number(button.dataset.step));
    if (button.id === "more") drawMore();
    ({ "previous-episode": keys.p, "next-episode": keys.n, close })[button.dataset.do]?.();
  });
  filter.addEventListener("change", narrow);
  filter.addEventListener("submit", (event) => event.preventDefault());

  async function follow() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!wanted.has("episode")) return;
    const position = index.rows.findIndex((row) => row[column.id] === wanted.get("episode")
      && (!wanted.has("source") || row[column.source] === Number(wanted.get("source"))));
    if (position < 0) {
      at("count").textContent = `No episode ${wanted.get("episode")} in this report. ${at("count").textContent}`;
      return;
    }
    await show(position, Number(wanted.get("step") || 1) - 1);
  }
  addEventListener("hashchange", follow);

  offer("source", index.sources.map((label, number) => [number, label]));
  const valuesOf = (name) => [...new Set(index.rows.map((row) => row[column[name]]))].sort();
  for (const name of ["task", "ending"]) offer(name, valuesOf(name).map((value) => [value, value]));
  narrow();
  await follow();
  document.documentElement.dataset.ready = "true";
})();
