// The request of the page as a command and as a program, for people who want to send it themselves.

const KEY_VARIABLE = "ALEXNET_API_KEY";

export function asCurl(name, withKey) {
  const key = withKey ? ` -H "Authorization: Bearer $${KEY_VARIABLE}"` : "";
  return `curl${key} -F ${shell(`image=@${name}`)} ${shell(address())}`;
}

export function asPython(name, withKey) {
  const key = withKey ? `, headers={"Authorization": f"Bearer {os.environ['${KEY_VARIABLE}']}"}` : "";
  return [
    ...(withKey ? ["import os", ""] : []),
    "import requests",
    "",
    `with open(${JSON.stringify(name)}, "rb") as image:`,
    `    answer = requests.post(${JSON.stringify(address())}, files={"image": image}${key})`,
    "answer.raise_for_status()",
    "print(answer.json())",
    "",
  ].join("\n");
}

function address() {
  return new URL("classify", document.baseURI).href;
}

function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
