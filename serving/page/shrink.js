// Large photos to small ones, in the browser: a model that sees 32 pixels needs no 12 megapixels over the network.

const LARGE_BYTES = 1_000_000; // what is smaller is sent as it is: the service decodes it best
const MARGIN = 16; // times the model's image size is left for its own, better filter

/**
 * A file to upload in place of `file`, with its orientation applied; `file` itself where it is small, or the browser
 * cannot read it. `side` is the longer side of the model's images, in pixels.
 */
export async function shrink(file, side) {
  if (file.size <= LARGE_BYTES) return file;
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  if (bitmap === null) return file;
  const scale = Math.min(1, (MARGIN * side) / Math.max(bitmap.width, bitmap.height));
  const size = [bitmap.width, bitmap.height].map((length) => Math.max(1, Math.round(length * scale)));
  const canvas = new OffscreenCanvas(...size);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, ...size);
  bitmap.close();
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return blob.size < file.size ? new File([blob], `${file.name}.png`, { type: blob.type }) : file;
}
