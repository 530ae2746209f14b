type Bytes = Uint8Array<ArrayBufferLike>;
/** SHA-256 without WebCrypto. */
export declare function sha256Portable(message: Bytes): Bytes;
/** SHA-512. */
export declare function sha512(message: Bytes): Bytes;
/** SHA-256 in hexadecimal, by WebCrypto where there is one. */
export declare function sha256(message: Bytes): Promise<string>;
/** Whether an Ed25519 signature is the key's over these bytes. Nothing here is secret, so time may vary. */
export declare function isSignedBy(key: Bytes, signature: Bytes, message: Bytes): boolean;
export {};
