// The camera, where the browser allows it. Out: a photo as a file.

import { $ } from "./elements.js";

/** `act` is told of each photo, `fail` of why there is none. */
export function setUpCamera(act, fail) {
  if (!navigator.mediaDevices?.getUserMedia) return; // without https there is none
  const dialog = $("camera-dialog");
  const video = $("video");
  $("camera").hidden = false;
  $("camera").onclick = async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      dialog.showModal();
    } catch (error) {
      fail(error);
    }
  };
  $("close-camera").onclick = () => dialog.close();
  dialog.onclose = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };
  $("shoot").onclick = async () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
    dialog.close();
    act(new File([blob], "camera.jpg", { type: blob.type }));
  };
}
