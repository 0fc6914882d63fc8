// Verifies v1a signatures with Node's own ed25519, by the public key that the server gives out: what a receiver without a
// library does.
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

function believes(headers, body, publicKey) {
  const x = Buffer.from(publicKey.slice("whpk_".length), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const message = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  return headers["webhook-signature"]
    .split(" ")
    .filter((one) => one.startsWith("v1a,"))
    .some((one) => verify(null, message, key, Buffer.from(one.slice(4), "base64")));
}

const paths = process.argv.slice(2);
for (const path of paths) {
  const { headers: pairs, body_base64, secret, other_secret } = JSON.parse(readFileSync(path, "utf8"));
  const headers = Object.fromEntries(pairs);
  const body = Buffer.from(body_base64, "base64");
  const answers = [
    believes(headers, body, secret),
    believes(headers, Buffer.concat([body, Buffer.from(" ")]), secret),
    believes({ ...headers, "webhook-id": "other" }, body, secret),
    believes(headers, body, other_secret),
  ];
  if (answers.join() !== "true,false,false,false") {
    throw new Error(`${path}: as sent, another body, another id, another key: ${answers}`);
  }
}
if (paths.length === 0) throw new Error("name the files of the requests");
console.log(`${paths.length} verified`);
