"use strict";

// No validatorUrl: the description is sent nowhere. The secret lives as long as the page.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  persistAuthorization: false,
  showExtensions: true,
  validatorUrl: null,
});
