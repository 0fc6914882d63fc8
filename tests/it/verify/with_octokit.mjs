// Has @octokit/webhooks-methods believe each request, and refuse it changed. Read from stdin in the folder that has the
// package, so that the import is found there.
import { readFileSync } from "node:fs";
import { verify } from "@octokit/webhooks-methods";

const paths = process.argv.slice(2);
for (const path of paths) {
  const { headers, body_base64, secret, other_secret } = JSON.parse(readFileSync(path, "utf8"));
  const signature = Object.fromEntries(headers)["x-hub-signature-256"];
  const body = Buffer.from(body_base64, "base64").toString();
  const answers = [
    await verify(secret, body, signature),
    await verify(secret, body + " ", signature),
    await verify(other_secret, body, signature),
  ];
  if (answers.join() !== "true,false,false") {
    throw new Error(`${path}: as sent, another body, another secret: ${answers}`);
  }
}
if (paths.length === 0) throw new Error("name the files of the requests");
console.log(`${paths.length} verified`);
