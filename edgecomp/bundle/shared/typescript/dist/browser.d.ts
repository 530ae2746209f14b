import type { Releases } from "./bundle.js";
import { type Picture } from "./processing.js";
/** Reads a bundle's files from a folder on the web. */
export declare function readFrom(folder: URL | string): (file: string) => Promise<Uint8Array>;
/** Releases in the page's local storage. */
export declare const storedReleases: Releases;
/** Decodes a picture upright, with its own numbers: no colour profile and no alpha are worked in. */
export declare function pictureFrom(file: Blob): Promise<Picture>;
