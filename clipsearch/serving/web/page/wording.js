// Numbers, dates and names as a person reads them.

const LANGUAGE = "en-GB";
const NUMBER = new Intl.NumberFormat("en");
const MONTH = new Intl.DateTimeFormat(LANGUAGE, { month: "long", year: "numeric" });
const SHORT_MONTH = new Intl.DateTimeFormat(LANGUAGE, { month: "short", year: "numeric" });
const DAY = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "long", year: "numeric" });

/** Return 12829 as 12,829. */
export function number(count) {
  return NUMBER.format(count);
}

/** Return "1 photo", "2 photos". */
export function counted(count, what = "photo") {
  return `${number(count)} ${what}${count === 1 ? "" : what.endsWith("tch") ? "es" : "s"}`;
}

/** Return "July 2021" for 2021-07 or anything that begins so; "" without a date. */
export function month(moment, short = false) {
  const at = local(moment);
  return at ? (short ? SHORT_MONTH : MONTH).format(at) : "";
}

/** Return "14 July 2021, 18:30"; a day alone has no time. */
export function dayAndTime(moment) {
  const at = local(moment);
  if (!at) return "";
  return moment.length > 10 ? `${DAY.format(at)}, ${moment.slice(11, 16)}` : DAY.format(at);
}

// The clock where the photo was taken: whatever offset the text has says nothing here.
function local(moment) {
  const found = /^(\d{4})-(\d\d)(?:-(\d\d))?/.exec(moment ?? "");
  return found ? new Date(+found[1], +found[2] - 1, +(found[3] ?? 1)) : null;
}

/** Return the last part of a path. */
export function nameOf(path) {
  const parts = path.split(/[/\\]/).filter(Boolean);
  return parts.length ? parts[parts.length - 1] : path;
}

/** Return the folder that a path lies in. */
export function folderOf(path) {
  const end = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"));
  return end > 0 ? path.slice(0, end) : path.slice(0, end + 1);
}

/** Return 99246 as "99 kB". */
export function bytes(size) {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit && size < 10 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

/** Return what is read out of a photo: its name, when, and how well it matches. */
export function spoken(hit) {
  const parts = [nameOf(hit.path), dayAndTime(hit.moment)];
  if (hit.strength) parts.push(`${hit.strength} match`);
  if (hit.alike?.length) parts.push(`${hit.alike.length} more like it`);
  return parts.filter(Boolean).join(", ");
}
