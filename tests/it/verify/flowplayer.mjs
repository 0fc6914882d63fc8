// A receiver as Flowplayer's documentation has it written: HMAC-SHA256 of the raw body in hexadecimal, in one header.
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

const paths = process.argv.slice(2);
for (const path of paths) {
  const { headers, body_base64, secret, other_secret } = JSON.parse(readFileSync(path, "utf8"));
  const signature = Buffer.from(Object.fromEntries(headers)["x-fp-webhook-signature-hmac-sha-256"]);
  const body = Buffer.from(body_base64, "base64");
  const believes = (bytes, key) => {
    const own = Buffer.from(createHmac("sha256", key).update(bytes).digest("hex"));
    return own.length === signature.length && timingSafeEqual(own, signature);
  };
  const answers = [
    believes(body, secret),
    believes(Buffer.concat([body, Buffer.from(" ")]), secret),
    believes(body, other_secret),
  ];
  const event = JSON.parse(body);
  if (answers.join() !== "true,false,false" || !event.event_type || !event.event_id || !event.payload) {
    throw new Error(`${path}: as sent, another body, another secret: ${answers}: ${body}`);
  }
}
if (paths.length === 0) throw new Error("name the files of the requests");
console.log(`${paths.length} verified`);
