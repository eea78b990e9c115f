// What a content type means to people: its kind, icon and name, and how it can be shown. Pure.

const TEXTS = new Set([
  "application/json", "application/xml", "application/javascript", "application/x-sh", "application/x-shellscript",
  "application/toml", "application/yaml", "application/x-yaml", "application/sql", "application/x-ndjson",
  "application/xhtml+xml", "application/x-wine-extension-ini",
]);
const ARCHIVES = /^application\/(zip|gzip|x-(7z-compressed|tar|bzip2|xz|rar.*|zstd|lz4|archive)|zstd|vnd\.rar|java-archive)$/;
const SHEETS = /spreadsheet|ms-excel|^text\/csv$/;
const DOCUMENTS = /wordprocessing|msword|opendocument\.text|presentation|ms-powerpoint|epub|rtf/;
const SHOWN_IMAGES = /^image\/(png|apng|jpeg|gif|webp|avif|bmp|x-ms-bmp|svg\+xml|x-icon|vnd\.microsoft\.icon)$/;
const THUMBNAILS = /^image\/(png|jpeg|gif|webp|avif|heic|heif)$/;
const NAMES = {
  image: "Image", video: "Video", audio: "Audio", pdf: "PDF", archive: "Archive", sheet: "Table",
  document: "Document", code: "Text", text: "Text", file: "File",
};

/** Choices for the filter: what `type` of the API they stand for, and what they are called. */
export const FILTERS = [
  ["", "All types", "files"],
  ["image/*", "Images", "image"],
  ["video/*", "Video", "video"],
  ["audio/*", "Audio", "audio"],
  ["application/pdf", "PDF", "pdf"],
  ["text/*", "Text", "text"],
  ["application/zip", "Zip archives", "archive"],
];

export function kindOf(type) {
  if (type.startsWith("image/")) return "image";
  if (type.startsWith("video/")) return "video";
  if (type.startsWith("audio/")) return "audio";
  if (type === "application/pdf") return "pdf";
  if (SHEETS.test(type)) return "sheet";
  if (DOCUMENTS.test(type)) return "document";
  if (ARCHIVES.test(type)) return "archive";
  if (/^text\/(html|css|javascript|x-(?!log).+)$/.test(type) || TEXTS.has(type) || /\+(json|xml)$/.test(type)) return "code";
  return type.startsWith("text/") ? "text" : "file";
}

export const iconOf = (type) => ({ document: "text" })[kindOf(type)] ?? kindOf(type);

/** Name a type: its kind, and its subtype where that tells more. */
export function typeName(type) {
  const kind = kindOf(type);
  const minor = type.split("/")[1]?.replace(/^(x-|vnd\.)/, "").replace(/\+.*$/, "") ?? "";
  const tells = ["image", "video", "audio", "archive"].includes(kind) && minor.length <= 9;
  return tells ? `${minor.toUpperCase().replace("QUICKTIME", "MOV")} ${NAMES[kind].toLowerCase()}` : NAMES[kind];
}

/** Return how the page can show a file: image, video, audio, pdf, text, or null. */
export function viewerOf(type) {
  const kind = kindOf(type);
  if (kind === "image") return SHOWN_IMAGES.test(type) ? "image" : null;
  if (kind === "video" || kind === "audio" || kind === "pdf") return kind;
  return kind === "text" || kind === "code" || type === "text/csv" ? "text" : null;
}

export const hasThumbnail = (type) => THUMBNAILS.test(type);

/** Name what a collection takes: `images and PDF`. */
export function namesOf(patterns) {
  const names = patterns.map((pattern) => {
    const [major, minor] = pattern.split("/");
    if (minor !== "*") return pattern === "application/pdf" ? "PDF" : pattern;
    return { image: "images", video: "video", audio: "audio", text: "text", "*": "all types" }[major] ?? pattern;
  });
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
