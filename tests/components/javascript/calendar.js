// A calendar, as somebody wrote it who never heard of Nexus.

const DAY = 86_400_000;
const NAMES = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

function milliseconds({ year, month, day }) {
    const date = new Date(0);
    date.setUTCFullYear(year, month - 1, day);
    const there = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
    return there && date.getTime() >= 0 ? date.getTime() : undefined;
}

export function touched({ when: { first, last } }) {
    const begin = milliseconds(first);
    const end = milliseconds(last);
    const weekdays = {};
    if (begin === undefined || end === undefined || end < begin) {
        return [weekdays, 0];
    }
    const days = (end - begin) / DAY + 1;
    for (let day = 0; day < Math.min(days, 7); day += 1) {
        weekdays[NAMES[new Date(begin + day * DAY).getUTCDay()]] = true;
    }
    return [weekdays, days];
}

export function instant(day) {
    const time = milliseconds(day);
    return time === undefined ? undefined : BigInt(time);
}

export function agenda(appointments) {
    return appointments.map(({ mark, title }) => `${mark} ${title}`).join("\n");
}
