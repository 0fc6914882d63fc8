// Has Zoom's own receiver library, @zoom/rivet, take each request, and refuse it changed. It computes the signature over
// JSON.stringify of the parsed body. Read from stdin in the folder that has the package, so that the import is found there.
import { readFileSync } from "node:fs";
import { AwsLambdaReceiver } from "@zoom/rivet/meetings";

console.debug = () => {};
const paths = process.argv.slice(2);
for (const path of paths) {
  const { headers, body_base64, secret, other_secret } = JSON.parse(readFileSync(path, "utf8"));
  const body = Buffer.from(body_base64, "base64").toString();
  const status = async (text, token) => {
    const receive = new AwsLambdaReceiver({ webhooksSecretToken: token }).start();
    const answer = await receive({ body: text, headers: Object.fromEntries(headers) }, {});
    return answer.statusCode;
  };
  const changed = JSON.stringify({ ...JSON.parse(body), event: "another.event" });
  const answers = [await status(body, secret), await status(changed, secret), await status(body, other_secret)];
  if (answers.join() !== "200,400,400") {
    throw new Error(`${path}: as sent, another body, another secret: ${answers}: ${body}`);
  }
}
if (paths.length === 0) throw new Error("name the files of the requests");
console.log(`${paths.length} verified`);
