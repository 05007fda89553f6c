// Runs once, before the source. After it there is no way from text to code, no clock, no randomness, and no shared
// object that the code could change. What it removes, the host's check of the source forbids by name as well.
(() => {
    const { defineProperty, freeze, getOwnPropertyDescriptor, getPrototypeOf } = Object;
    const { deleteProperty, ownKeys } = Reflect;

    // Every constructor that compiles text is reachable from a function of its kind only.
    const functions = [function () {}, async function () {}, function* () {}, async function* () {}];
    for (const each of functions) deleteProperty(getPrototypeOf(each), "constructor");

    deleteProperty(Math, "random");
    // The engine calls what is set here, with the frames of its own callers in hand.
    for (const name of ["prepareStackTrace", "stackTraceLimit"]) deleteProperty(Error, name);
    const absent = ["Atomics", "Date", "FinalizationRegistry", "Function", "SharedArrayBuffer", "WeakRef", "eval"];
    for (const name of absent) deleteProperty(globalThis, name);

    // An assignment to an own property must work although the prototype's is frozen (`error.name = …`,
    // `count["constructor"] = 1`): there the frozen value sits behind a setter that defines the own property.
    const letOverride = (prototype) => {
        for (const key of ownKeys(prototype)) {
            const found = getOwnPropertyDescriptor(prototype, key);
            if (!("value" in found) || !found.configurable) continue;
            const { value, enumerable } = found;
            defineProperty(prototype, key, {
                configurable: false,
                enumerable,
                get: () => value,
                set(own) {
                    if (this === prototype) throw new TypeError("a built-in object is read-only");
                    defineProperty(this, key, { value: own, configurable: true, enumerable: true, writable: true });
                },
            });
        }
    };
    const globals = ownKeys(globalThis).filter((key) => key !== "globalThis");
    const prototypes = globals.map((key) => globalThis[key]?.prototype);
    const errors = prototypes.filter((each) => each === Error.prototype || each instanceof Error);
    for (const each of [Object.prototype, ...errors]) letOverride(each);

    const seen = new Set();
    const harden = (value) => {
        if ((typeof value !== "object" && typeof value !== "function") || value === null || seen.has(value)) return;
        seen.add(value);
        freeze(value);
        harden(getPrototypeOf(value));
        for (const key of ownKeys(value)) {
            const { value: held, get, set } = getOwnPropertyDescriptor(value, key);
            for (const each of [held, get, set]) harden(each);
        }
    };
    const iterators = [[], new Map(), new Set(), ""].map((each) => each[Symbol.iterator]());
    iterators.push("".matchAll(/x/g), [].values().map((each) => each), Iterator.from({ next() {} }));
    for (const each of [...functions, ...iterators]) harden(getPrototypeOf(each));
    for (const key of globals) {
        harden(globalThis[key]);
        defineProperty(globalThis, key, { configurable: false, writable: false });
    }
})();
