// Makes the component `dist/plugin-name.wasm`.

import { mkdir, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize({
    sourcePath: "plugin.js",
    witPath: "wit",
    worldName: "plugin",
    // Take "http" out, and "fetch-event" with it, when the plugin is to use `fetch`; it needs the grant `http` then.
    disableFeatures: ["http", "fetch-event"],
});
await mkdir("dist", { recursive: true });
await writeFile("dist/plugin-name.wasm", component);
