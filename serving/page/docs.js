"use strict";
// Swagger UI comes with BentoML; nothing is loaded from another host.
window.SwaggerUIBundle({ url: "docs.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
